"""Adam (arXiv 1412.6980) and AdamW (arXiv 1711.05101): the gradient divided by the root of its mean square."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from workers.science.optimizers.hyperparameters import PackHyperparameters
from workers.science.optimizers.rule import Rule, per_trial
from workers.science.protocols import State


class Adam(Rule):
    """torch.optim.Adam: the weight decay is part of the gradient.

    w <- w - lr mhat / (sqrt(vhat) + eps), computed as lr' m / (sqrt(v) + eps') with the bias corrections moved into
    lr' and eps': the same number with two passes over memory less.
    """

    DECAY: Literal["gradient", "update"] = "gradient"

    def __init__(self, hyperparameters: PackHyperparameters) -> None:
        super().__init__(hyperparameters, self.DECAY)
        self._beta1_N1 = self._column(lambda spec: spec.betas[0])
        self._beta2_N1 = self._column(lambda spec: spec.betas[1])
        self._eps_N1 = self._column(lambda spec: spec.eps)
        self._fixed = (self._rounded(1 - self._beta1_N1), self._rounded(1 - self._beta2_N1))

    def init(self, params_NP: Tensor) -> State:
        """Both moments 0; "step" [N] counts the updates made."""
        return {
            "lr": per_trial(params_NP),
            "step": per_trial(params_NP),
            "first_moment": torch.zeros_like(params_NP),
            "second_moment": torch.zeros_like(params_NP),
        }

    def coefficients(self, state: State) -> tuple[Tensor, ...]:
        """Counts the update, then: -lr', eps', 1 - beta1, 1 - beta2, weight decay (AdamW: -(lr weight_decay))."""
        step_N1 = state["step"].add_(1).unsqueeze(1)
        lr_N1 = state["lr"].unsqueeze(1)
        root_N1 = (1 - self._beta2_N1**step_N1).sqrt_()
        minus_rate_N1 = -lr_N1 * root_N1 / (1 - self._beta1_N1**step_N1)
        decay_N1 = self._decay_coefficient(lr_N1)
        return (self._rounded(minus_rate_N1), self._rounded(self._eps_N1 * root_N1), *self._fixed, decay_N1)

    def _decay_coefficient(self, lr_N1: Tensor) -> Tensor:
        return self._decay.coefficient(lr_N1)

    def update(
        self, grads_NP: Tensor, state: State, params_NP: Tensor, coefficients: Sequence[Tensor], out_NP: Tensor
    ) -> None:
        """out = -lr' m / (sqrt(v) + eps'), after m and v have taken in the gradients; those are overwritten."""
        minus_rate_N1, eps_N1, weight1_N1, weight2_N1, decay_N1 = coefficients
        self._decay.add("gradient", grads_NP, params_NP, decay_N1)
        self._direction(grads_NP, state, (eps_N1, weight1_N1, weight2_N1), out_NP).mul_(minus_rate_N1)
        self._decay.add("update", out_NP, params_NP, decay_N1)
        self._scale(out_NP)
        self._decay.add("apart", out_NP, params_NP, decay_N1)

    @staticmethod
    def _direction(grads_NP: Tensor, state: State, coefficients: Sequence[Tensor], out_NP: Tensor) -> Tensor:
        """out = m / (sqrt(v) + eps'), after both have taken in the gradients."""
        eps_N1, weight1_N1, weight2_N1 = coefficients
        first_NP = state["first_moment"].lerp_(grads_NP, weight1_N1)
        second_NP = state["second_moment"].lerp_(grads_NP.square_(), weight2_N1)
        denominator_NP = torch.sqrt(second_NP, out=grads_NP).add_(eps_N1)
        return torch.div(first_NP, denominator_NP, out=out_NP)

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

    DECAY = "update"

    def _decay_coefficient(self, lr_N1: Tensor) -> Tensor:
        if self._decay.where != "update":
            return self._decay.coefficient(lr_N1)
        # torch multiplies by the rounded 1 - lr weight_decay; its distance from 1 is exact, so the same factor
        return self._rounded(1 - lr_N1 * self._decay.rate_N1) - 1
