"""Lion (arXiv 2302.06675): the sign of an average of gradients, so that every parameter moves by the rate itself."""

from collections.abc import Sequence

import torch
from torch import Tensor

from workers.science.optimizers.hyperparameters import PackHyperparameters
from workers.science.optimizers.rule import Rule, per_trial
from workers.science.protocols import State


class Lion(Rule):
    """w <- w - lr (sign(beta1 m + (1 - beta1) g) + weight_decay w), then m <- beta2 m + (1 - beta2) g."""

    def __init__(self, hyperparameters: PackHyperparameters) -> None:
        super().__init__(hyperparameters, decay="update")
        beta1_N1, beta2_N1 = self._column(lambda spec: spec.betas[0]), self._column(lambda spec: spec.betas[1])
        self._fixed = (self._rounded(1 - beta1_N1), self._rounded(1 - beta2_N1))

    def init(self, params_NP: Tensor) -> State:
        """Momentum 0."""
        return {"lr": per_trial(params_NP), "momentum": torch.zeros_like(params_NP)}

    def coefficients(self, state: State) -> tuple[Tensor, ...]:
        """-lr, 1 - beta1, 1 - beta2, weight decay."""
        lr_N1 = state["lr"].unsqueeze(1)
        return self._rounded(lr_N1.neg()), *self._fixed, self._decay.coefficient(lr_N1)

    def update(
        self, grads_NP: Tensor, state: State, params_NP: Tensor, coefficients: Sequence[Tensor], out_NP: Tensor
    ) -> None:
        """out = -lr (sign(...) + weight_decay w)."""
        minus_lr_N1, weight1_N1, weight2_N1, decay_N1 = coefficients
        torch.lerp(state["momentum"], grads_NP, weight1_N1, out=out_NP).sign_().mul_(minus_lr_N1)
        state["momentum"].lerp_(grads_NP, weight2_N1)
        self._decay.add("update", out_NP, params_NP, decay_N1)
        self._scale(out_NP)
        self._decay.add("apart", out_NP, params_NP, decay_N1)

    def preconditioner(self, state: State) -> None:
        """None for want of one: a sign is no linear map of the gradient, and `stability_threshold` says so by NaN."""
        return

    def stability_threshold(self, lr_N: Tensor) -> Tensor:
        """NaN: steps of a fixed length settle at no curvature; they end in a ball whose size goes with the rate."""
        return torch.full_like(lr_N, torch.nan)
