"""From the words of a spec's `start` to a starting point, or a refusal that says what is allowed."""

from collections.abc import Callable

import torch
from torch import Tensor

from schemas.workloads import Start


def from_point(start: Start, num_parameters: int) -> Tensor:
    """`start.point` as float64 [P]. Raises ValueError for another form, or another number of coordinates."""
    if start.point is None:
        form = "gap" if start.gap is not None else "per_block"
        raise ValueError(f"start: got {form}, allowed point with {num_parameters} coordinates")
    if len(start.point) != num_parameters:
        raise ValueError(f"start.point: got {len(start.point)} coordinates, allowed {num_parameters}")
    return torch.tensor(start.point, dtype=torch.float64)


def from_point_or_gap(start: Start, num_parameters: int, at_gap: Callable[[float], float]) -> Tensor:
    """`start.point`, or the point whose coordinates are all `at_gap(start.gap)`; float64 [P]."""
    if start.per_block is not None:
        raise ValueError(f"start: got per_block, allowed gap, or point with {num_parameters} coordinates")
    if start.gap is not None:
        return torch.full((num_parameters,), at_gap(start.gap), dtype=torch.float64)
    return from_point(start, num_parameters)
