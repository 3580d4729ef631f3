"""The numbers that differ between the trials of a pack, as columns [N, 1], and the layers of its parameters."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from schemas.optimizers import Layers
from schemas.optimizers import Optimizer as OptimizerSpec
from workers.science.parameters import Layout

__all__ = ["Layer", "OptimizerSpec", "PackHyperparameters"]


@dataclass(frozen=True)
class Layer:
    """One named tensor inside the flat matrix [N, P]."""

    name: str
    columns: slice
    shape: tuple[int, int]
    """As a matrix, first dimension x the rest: a convolution's is out x (in height width); a vector's is 1 x size."""
    is_matrix: bool

    def of(self, flat_nP: Tensor) -> Tensor:
        """Its part of some rows, a view [n, size]."""
        return flat_nP[:, self.columns]

    def matrix_of(self, flat_nP: Tensor) -> Tensor:
        """Its part of some rows, a view [n, *shape]."""
        return self.of(flat_nP).view(len(flat_nP), *self.shape)


@dataclass(frozen=True)
class PackHyperparameters:
    """The optimizer specs of the N slots, all of one kind, and where and in what precision the parameters are."""

    specs: Sequence[OptimizerSpec]
    dtype: torch.dtype
    device: torch.device
    lr_multiplier_P: Tensor | None = None
    """Factor on the rate by parameter (mup); None: 1 everywhere."""
    layout: Layout | None = None
    """Where each named tensor lies among the P parameters: what rules that tell layers apart need."""

    def column(self, read: Callable[[Any], float]) -> Tensor:
        """[N, 1] in float64: what `read` says of each spec. Rounded to the parameters' dtype only where it is used."""
        values = [[float(read(spec))] for spec in self.specs]
        return torch.tensor(values, dtype=torch.float64, device=self.device)

    def rounded(self, column_N1: Tensor) -> Tensor:
        """The column in the parameters' dtype."""
        return column_N1.to(self.dtype)

    def layers(self, which: Layers) -> tuple[Layer, ...]:
        """The layers of the layout, all of them or those that are matrices."""
        assert self.layout is not None
        found, first = [], 0
        for name, shape, size in zip(self.layout.names, self.layout.shapes, self.layout.sizes, strict=True):
            is_matrix = len(shape) >= 2
            as_matrix = (shape[0], size // shape[0]) if is_matrix else (1, size)
            if is_matrix or which == "all":
                found.append(Layer(name, slice(first, first + size), as_matrix, is_matrix))
            first += size
        return tuple(found)
