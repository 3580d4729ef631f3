"""1/2 sum_i eigenvalue_i w_i^2: constant curvature, where warmup has nothing to give."""

import math

import torch
from torch import Tensor

from schemas.functions import Quadratic
from schemas.workloads import Start
from workers.science.functions.gap_law import GapLaw
from workers.science.functions.starting_points import from_point, from_point_or_gap


class QuadraticFunction:
    """With a negative eigenvalue there is no infimum: `optimum` and `law` are None."""

    def __init__(self, spec: Quadratic) -> None:
        self.num_parameters = len(spec.eigenvalues)
        self._eigenvalues_P = torch.tensor(spec.eigenvalues, dtype=torch.float64)
        is_convex = min(spec.eigenvalues) >= 0
        self.optimum = 0.0 if is_convex else None
        self.law = GapLaw(rho=1.0, k0=max(spec.eigenvalues), k_rho=0.0, is_equality=True) if is_convex else None

    def value(self, params_P: Tensor) -> Tensor:
        """f(w)."""
        return 0.5 * (self._eigenvalues_P.to(params_P) * params_P.square()).sum()

    def hessian_norm(self, params_P: Tensor) -> Tensor:
        """||Hessian||."""
        return self._eigenvalues_P.to(params_P).abs().amax()

    def start(self, start: Start) -> Tensor:
        """The given point; for one positive eigenvalue also the right-hand point of a gap."""
        eigenvalue = self._eigenvalues_P[0].item()
        if self.num_parameters == 1 and eigenvalue > 0:
            return from_point_or_gap(start, 1, lambda gap: math.sqrt(2.0 * gap / eigenvalue))
        return from_point(start, self.num_parameters)
