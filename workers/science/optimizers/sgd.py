"""Stochastic gradient descent with momentum: w <- w - lr m, m <- momentum m + g + weight_decay w."""

from collections.abc import Sequence

import torch
from torch import Tensor

from workers.science.optimizers.hyperparameters import PackHyperparameters
from workers.science.protocols import State


class SGD:
    """torch.optim.SGD with dampening 0, each trial with its own momentum, weight decay and rate."""

    def __init__(self, hyperparameters: PackHyperparameters) -> None:
        self._multiplier_P = hyperparameters.lr_multiplier_P
        self._hyperparameters = hyperparameters
        self._momentum_N1 = hyperparameters.column(lambda spec: getattr(spec, "momentum", 0.0))
        decay_N1 = hyperparameters.column(lambda spec: spec.weight_decay)
        self._has_decay = bool((decay_N1 != 0).any())
        self._fixed = (hyperparameters.rounded(self._momentum_N1), hyperparameters.rounded(decay_N1))

    def init(self, params_NP: Tensor) -> State:
        """Momentum 0: torch starts with the first gradient, which is what 0 x momentum + g gives."""
        lr_N = torch.zeros(len(params_NP), dtype=torch.float64, device=params_NP.device)
        return {"lr": lr_N, "momentum": torch.zeros_like(params_NP)}

    def coefficients(self, state: State) -> tuple[Tensor, ...]:
        """-lr, momentum, weight decay."""
        return (self._hyperparameters.rounded(state["lr"].neg().unsqueeze(1)), *self._fixed)

    def update(
        self, grads_NP: Tensor, state: State, params_NP: Tensor, coefficients: Sequence[Tensor], out_NP: Tensor
    ) -> None:
        """out = -lr (momentum m + g + weight_decay w); the gradients are overwritten."""
        minus_lr_N1, momentum_N1, decay_N1 = coefficients
        if self._has_decay:
            grads_NP.addcmul_(params_NP, decay_N1)
        buffer_NP = state["momentum"].mul_(momentum_N1).add_(grads_NP)
        torch.mul(buffer_NP, minus_lr_N1, out=out_NP)
        if self._multiplier_P is not None:
            out_NP.mul_(self._multiplier_P)

    def preconditioner(self, state: State) -> None:
        """The identity."""
        return

    def stability_threshold(self, lr_N: Tensor) -> Tensor:
        """(2 + 2 momentum) / lr: the quadratic of this curvature is where heavy-ball momentum stops converging."""
        return (2 + 2 * self._momentum_N1.squeeze(1)) / lr_N
