"""A steep wall and a flat river: (k0/k1)(cosh(sqrt(k1) a) - 1) + 1/2 sum_i eigenvalue_i b_i^2."""

import math

import torch
from torch import Tensor

from schemas.functions import RiverValley
from schemas.workloads import BlockStart, Start
from workers.science.functions.cosh import cosh_point, cosh_wall
from workers.science.functions.gap_law import GapLaw
from workers.science.functions.starting_points import from_point


class RiverValleyFunction:
    """The wall forces a small rate at the start, the river needs a large sum of rates (design/theory.md, T5 and T6).

    Parameters are (a, b_1, ..., b_m). ||Hessian|| = max(k0 + k1 f_a, max eigenvalue), so the law holds with
    K0 = max(k0, max eigenvalue), K1 = k1.
    """

    optimum = 0.0

    def __init__(self, spec: RiverValley) -> None:
        self.num_parameters = 1 + len(spec.eigenvalues)
        self._k0, self._k1 = spec.k0, spec.k1
        self._eigenvalues_m = torch.tensor(spec.eigenvalues, dtype=torch.float64)
        self.law = GapLaw(rho=1.0, k0=max(spec.k0, *spec.eigenvalues), k_rho=spec.k1, is_equality=False)

    def value(self, params_P: Tensor) -> Tensor:
        """f(w)."""
        river = 0.5 * (self._eigenvalues_m.to(params_P) * params_P[1:].square()).sum()
        return cosh_wall(params_P[0], self._k0, self._k1) + river

    def hessian_norm(self, params_P: Tensor) -> Tensor:
        """||Hessian||."""
        wall = self._k0 * torch.cosh(math.sqrt(self._k1) * params_P[0])
        return torch.maximum(wall, self._eigenvalues_m.to(params_P).amax())

    def start(self, start: Start) -> Tensor:
        """From `per_block`, or the given point."""
        if start.gap is not None:
            raise ValueError(f"start: got gap, allowed per_block, or point with {self.num_parameters} coordinates")
        if start.per_block is None:
            return from_point(start, self.num_parameters)
        wall = cosh_point(start.per_block.wall_gap, self._k0, self._k1)
        return torch.tensor([wall, *self._river(start.per_block)], dtype=torch.float64)

    def _river(self, block: BlockStart) -> tuple[float, ...]:
        num_river = self.num_parameters - 1
        if isinstance(block.river, float):
            return (block.river,) * num_river
        if len(block.river) != num_river:
            raise ValueError(f"start.per_block.river: got {len(block.river)} coordinates, allowed {num_river}")
        return block.river
