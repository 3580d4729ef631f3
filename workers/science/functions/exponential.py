"""F3: exp(-w), whose curvature is its gap; the infimum 0 is not attained."""

import math

import torch
from torch import Tensor

from schemas.functions import Exponential
from schemas.workloads import Start
from workers.science.functions.gap_law import GapLaw
from workers.science.functions.starting_points import from_point_or_gap


class ExponentialFunction:
    """Convex. At the rate 1/gap each step divides the gap by e; at a constant rate the gap falls like 1/t (T4)."""

    num_parameters = 1
    optimum = 0.0

    def __init__(self, spec: Exponential) -> None:
        self.law = GapLaw(rho=1.0, k0=0.0, k_rho=1.0, is_equality=True)

    def value(self, params_P: Tensor) -> Tensor:
        """f(w)."""
        return torch.exp(-params_P[0])

    def hessian_norm(self, params_P: Tensor) -> Tensor:
        """||Hessian||."""
        return torch.exp(-params_P[0])

    def start(self, start: Start) -> Tensor:
        """-log(gap), or the given point."""
        return from_point_or_gap(start, 1, lambda gap: -math.log(gap))
