"""What the update rules have in common: columns of hyperparameters, weight decay, mup's factors."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from workers.science.optimizers.decay import WeightDecay
from workers.science.optimizers.hyperparameters import PackHyperparameters
from workers.science.protocols import State


class Rule:
    """Base of the update rules (workers.science.protocols.Optimizer says what they promise)."""

    def __init__(self, hyperparameters: PackHyperparameters, decay: Literal["gradient", "update"]) -> None:
        self._hyperparameters = hyperparameters
        self._rounded = hyperparameters.rounded
        self._multiplier_P = hyperparameters.lr_multiplier_P
        self._decay = WeightDecay(hyperparameters, decay)

    def _column(self, read: Callable[[Any], float]) -> Tensor:
        return self._hyperparameters.column(read)

    def _scale(self, out_nP: Tensor) -> None:
        """mup's factor on the rate, in place."""
        if self._multiplier_P is not None:
            out_nP.mul_(self._multiplier_P)

    def evaluation_point(self, _state: State, params_NP: Tensor) -> Tensor:
        """The parameters themselves."""
        return params_NP


def per_trial(params_NP: Tensor, value: float = 0.0) -> Tensor:
    """[N] in float64."""
    return torch.full((len(params_NP),), value, dtype=torch.float64, device=params_NP.device)
