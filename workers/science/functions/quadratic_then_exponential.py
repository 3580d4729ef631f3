"""F8: w^2 for |w| <= 1, 2 exp(|w| - 1) - 1 outside: strongly convex, exponential walls."""

import math

import torch
from torch import Tensor

from schemas.functions import QuadraticThenExponential
from schemas.workloads import Start
from workers.science.functions.gap_law import GapLaw
from workers.science.functions.starting_points import from_point_or_gap


class QuadraticThenExponentialFunction:
    """C^2, 2-strongly convex, (1, 2, 1)-smooth with slack 1 outside (the instance of arXiv 2510.03164, Eq. 65)."""

    num_parameters = 1
    optimum = 0.0
    law = GapLaw(rho=1.0, k0=2.0, k_rho=1.0, is_equality=False)

    def __init__(self, spec: QuadraticThenExponential) -> None:
        pass

    def value(self, params_P: Tensor) -> Tensor:
        """f(w)."""
        w = params_P[0]
        return torch.where(w.abs() <= 1.0, w.square(), 2.0 * torch.exp(w.abs() - 1.0) - 1.0)

    def hessian_norm(self, params_P: Tensor) -> Tensor:
        """||Hessian||."""
        w = params_P[0]
        return 2.0 * torch.where(w.abs() <= 1.0, 1.0, torch.exp(w.abs() - 1.0))

    def start(self, start: Start) -> Tensor:
        """The right-hand point of that gap, or the given point."""
        return from_point_or_gap(
            start, 1, lambda gap: math.sqrt(gap) if gap <= 1.0 else 1.0 + math.log(0.5 * (gap + 1.0))
        )
