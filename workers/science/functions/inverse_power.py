"""F4: w^(-q) on w > 0, curvature q (q + 1) gap^(1 + 2/q): an exponent above 1."""

import torch
from torch import Tensor

from schemas.functions import InversePower
from schemas.workloads import Start
from workers.science.functions.gap_law import GapLaw
from workers.science.functions.starting_points import from_point_or_gap


class InversePowerFunction:
    """Convex on w > 0; infinite elsewhere, so that a step out of the domain is a divergence. The infimum is 0."""

    num_parameters = 1
    optimum = 0.0

    def __init__(self, spec: InversePower) -> None:
        self._q = spec.q
        self.law = GapLaw(rho=1.0 + 2.0 / spec.q, k0=0.0, k_rho=spec.q * (spec.q + 1.0), is_equality=True)

    def value(self, params_P: Tensor) -> Tensor:
        """f(w)."""
        w = params_P[0]
        return torch.where(w > 0, w.pow(-self._q), torch.inf)

    def hessian_norm(self, params_P: Tensor) -> Tensor:
        """||Hessian||."""
        w = params_P[0]
        return torch.where(w > 0, self._q * (self._q + 1.0) * w.pow(-self._q - 2.0), torch.inf)

    def start(self, start: Start) -> Tensor:
        """gap^(-1/q), or the given point, which must be above 0."""
        point = from_point_or_gap(start, 1, lambda gap: gap ** (-1.0 / self._q))
        if point[0] <= 0:
            raise ValueError(f"start.point: got {point[0].item()!r}, allowed above 0")
        return point
