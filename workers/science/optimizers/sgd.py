"""Stochastic gradient descent with momentum: w <- w - lr m, m <- momentum m + g + weight_decay w."""

from collections.abc import Sequence

import torch
from torch import Tensor

from workers.science.optimizers.hyperparameters import PackHyperparameters
from workers.science.optimizers.rule import Rule, per_trial
from workers.science.protocols import State


class SGD(Rule):
    """torch.optim.SGD with dampening 0, each trial with its own momentum, weight decay and rate."""

    def __init__(self, hyperparameters: PackHyperparameters) -> None:
        super().__init__(hyperparameters, decay="gradient")
        self._momentum_N1 = self._column(lambda spec: spec.momentum)
        self._rounded_momentum_N1 = self._rounded(self._momentum_N1)
        self._nesterov = bool(getattr(hyperparameters.specs[0], "nesterov", False))

    def init(self, params_NP: Tensor) -> State:
        """Momentum 0: torch starts with the first gradient, which is what 0 x momentum + g gives."""
        return {"lr": per_trial(params_NP), "momentum": torch.zeros_like(params_NP)}

    def coefficients(self, state: State) -> tuple[Tensor, ...]:
        """-lr, momentum, weight decay."""
        lr_N1 = state["lr"].unsqueeze(1)
        return self._rounded(lr_N1.neg()), self._rounded_momentum_N1, self._decay.coefficient(lr_N1)

    def update(
        self, grads_NP: Tensor, state: State, params_NP: Tensor, coefficients: Sequence[Tensor], out_NP: Tensor
    ) -> None:
        """out = -lr (momentum m + g + weight_decay w); the gradients are overwritten."""
        self._decay.add("gradient", grads_NP, params_NP, coefficients[2])
        self._momentum_step(grads_NP, state, params_NP, coefficients, out_NP)

    def _momentum_step(
        self, grads_NP: Tensor, state: State, params_NP: Tensor, coefficients: Sequence[Tensor], out_NP: Tensor
    ) -> None:
        minus_lr_N1, momentum_N1, decay_N1 = coefficients
        buffer_NP = state["momentum"].mul_(momentum_N1).add_(grads_NP)
        if self._nesterov:
            buffer_NP = grads_NP.addcmul_(buffer_NP, momentum_N1)
        torch.mul(buffer_NP, minus_lr_N1, out=out_NP)
        self._scale(out_NP)
        self._decay.add("apart", out_NP, params_NP, decay_N1)

    def preconditioner(self, state: State) -> None:
        """The identity."""
        return

    def stability_threshold(self, lr_N: Tensor) -> Tensor:
        """(2 + 2 momentum) / lr: the quadratic of this curvature is where heavy-ball momentum stops converging.

        With nesterov (2 + 2 momentum) / ((1 + 2 momentum) lr).
        """
        momentum_N = self._momentum_N1.squeeze(1)
        threshold_N = (2 + 2 * momentum_N) / lr_N
        return threshold_N / (1 + 2 * momentum_N) if self._nesterov else threshold_N
