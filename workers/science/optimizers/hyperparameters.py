"""The numbers that differ between the trials of a pack, as columns [N, 1]."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from schemas.optimizers import SGD, Adam, AdamW

OptimizerSpec = SGD | Adam | AdamW


@dataclass(frozen=True)
class PackHyperparameters:
    """The optimizer specs of the N slots, all of one kind, and where and in what precision the parameters are."""

    specs: Sequence[OptimizerSpec]
    dtype: torch.dtype
    device: torch.device
    lr_multiplier_P: Tensor | None = None
    """Factor on the rate by parameter (mup); None: 1 everywhere."""

    def column(self, read: Callable[[OptimizerSpec], float]) -> Tensor:
        """[N, 1] in float64: what `read` says of each spec. Rounded to the parameters' dtype only where it is used."""
        values = [[float(read(spec))] for spec in self.specs]
        return torch.tensor(values, dtype=torch.float64, device=self.device)

    def rounded(self, column_N1: Tensor) -> Tensor:
        """The column in the parameters' dtype."""
        return column_N1.to(self.dtype)
