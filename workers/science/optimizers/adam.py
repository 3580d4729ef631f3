"""Adam (arXiv 1412.6980) and AdamW (arXiv 1711.05101): the gradient divided by the root of its mean square."""

from collections.abc import Sequence

import torch
from torch import Tensor

from workers.science.optimizers.hyperparameters import PackHyperparameters
from workers.science.protocols import State


class Adam:
    """torch.optim.Adam: the weight decay is part of the gradient.

    w <- w - lr mhat / (sqrt(vhat) + eps), computed as lr' m / (sqrt(v) + eps') with the bias corrections moved into
    lr' and eps': the same number with two passes over memory less.
    """

    DECOUPLED = False

    def __init__(self, hyperparameters: PackHyperparameters) -> None:
        self._multiplier_P = hyperparameters.lr_multiplier_P
        self._hyperparameters = hyperparameters
        column = hyperparameters.column
        self._beta1_N1 = column(lambda spec: spec.betas[0])  # type: ignore[union-attr]
        self._beta2_N1 = column(lambda spec: spec.betas[1])  # type: ignore[union-attr]
        self._eps_N1 = column(lambda spec: spec.eps)  # type: ignore[union-attr]
        self._decay_N1 = column(lambda spec: spec.weight_decay)
        self._has_decay = bool((self._decay_N1 != 0).any())
        rounded = hyperparameters.rounded
        self._fixed = (rounded(1 - self._beta1_N1), rounded(1 - self._beta2_N1))

    def init(self, params_NP: Tensor) -> State:
        """Both moments 0; "step" [N] counts the updates made."""
        zeros_N = torch.zeros(len(params_NP), dtype=torch.float64, device=params_NP.device)
        return {
            "lr": zeros_N,
            "step": zeros_N.clone(),
            "first_moment": torch.zeros_like(params_NP),
            "second_moment": torch.zeros_like(params_NP),
        }

    def coefficients(self, state: State) -> tuple[Tensor, ...]:
        """Counts the update, then: -lr', eps', 1 - beta1, 1 - beta2, weight decay (AdamW: -(lr weight_decay))."""
        step_N1 = state["step"].add_(1).unsqueeze(1)
        lr_N1 = state["lr"].unsqueeze(1)
        root_N1 = (1 - self._beta2_N1**step_N1).sqrt_()
        minus_rate_N1 = -lr_N1 * root_N1 / (1 - self._beta1_N1**step_N1)
        rounded = self._hyperparameters.rounded
        decay_N1 = rounded(self._decay_N1)
        if self.DECOUPLED:
            # torch multiplies by the rounded 1 - lr weight_decay; its distance from 1 is exact, so the same factor
            decay_N1 = rounded(1 - lr_N1 * self._decay_N1) - 1
        return (rounded(minus_rate_N1), rounded(self._eps_N1 * root_N1), *self._fixed, decay_N1)

    def update(
        self, grads_NP: Tensor, state: State, params_NP: Tensor, coefficients: Sequence[Tensor], out_NP: Tensor
    ) -> None:
        """out = -lr' m / (sqrt(v) + eps'), after m and v have taken in the gradients; those are overwritten."""
        minus_rate_N1, eps_N1, weight1_N1, weight2_N1, decay_N1 = coefficients
        if self._has_decay and not self.DECOUPLED:
            grads_NP.addcmul_(params_NP, decay_N1)
        first_NP = state["first_moment"].lerp_(grads_NP, weight1_N1)
        second_NP = state["second_moment"].lerp_(grads_NP.square_(), weight2_N1)
        denominator_NP = torch.sqrt(second_NP, out=grads_NP).add_(eps_N1)
        torch.div(first_NP, denominator_NP, out=out_NP).mul_(minus_rate_N1)
        if self._has_decay and self.DECOUPLED:
            out_NP.addcmul_(params_NP, decay_N1)
        if self._multiplier_P is not None:
            out_NP.mul_(self._multiplier_P)

    def preconditioner(self, state: State) -> Tensor:
        """(1 - beta1^t) (sqrt(vhat) + eps) of update t (arXiv 2406.09405, as its code has it)."""
        step_N1 = state["step"].unsqueeze(1)
        root_NP = (state["second_moment"] / (1 - self._beta2_N1**step_N1)).sqrt()
        return ((1 - self._beta1_N1**step_N1) * (root_NP + self._eps_N1)).to(self._hyperparameters.dtype)

    def stability_threshold(self, lr_N: Tensor) -> Tensor:
        """(2 + 2 beta1) / ((1 - beta1) lr), for the preconditioned sharpness late in training."""
        beta1_N = self._beta1_N1.squeeze(1)
        return (2 + 2 * beta1_N) / ((1 - beta1_N) * lr_N)


class AdamW(Adam):
    """torch.optim.AdamW: the weights shrink by lr weight_decay, outside the moments."""

    DECOUPLED = True
