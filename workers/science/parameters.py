"""Named tensors as one flat vector: the layout by which a pack's parameters are a matrix [N, P]."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Layout:
    """Names and shapes in order; P is their total size. One layout serves all trials of a pack."""

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, params: Mapping[str, Tensor]) -> "Layout":
        """The layout of one trial's named tensors."""
        return cls(tuple(params), tuple(tuple(tensor.shape) for tensor in params.values()))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Values in each tensor."""
        return tuple(math.prod(shape) for shape in self.shapes)

    @property
    def num_parameters(self) -> int:
        """P."""
        return sum(self.sizes)

    def flatten(self, params: Mapping[str, Tensor]) -> Tensor:
        """One trial's named tensors as a vector [P]: a copy."""
        return torch.cat([params[name].reshape(-1) for name in self.names])

    def unflatten(self, params_P: Tensor) -> dict[str, Tensor]:
        """One trial's vector [P] as named views of it; runs under vmap."""
        parts = params_P.split_with_sizes(self.sizes)
        return {name: part.view(shape) for name, part, shape in zip(self.names, parts, self.shapes, strict=True)}

    def stack(self, trials: Sequence[Mapping[str, Tensor]]) -> Tensor:
        """The named tensors of N trials as a matrix [N, P]."""
        return torch.stack([self.flatten(params) for params in trials])

    def spread(self, values: Mapping[str, float], dtype: torch.dtype = torch.float64) -> Tensor:
        """One number per named tensor as a vector [P]."""
        return torch.cat(
            [torch.full((size,), values[name], dtype=dtype) for name, size in zip(self.names, self.sizes, strict=True)]
        )
