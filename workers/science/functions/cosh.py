"""F1: (k0/k1) (cosh(sqrt(k1) w) - 1), whose curvature is exactly k0 + k1 gap."""

import math

import torch
from torch import Tensor

from schemas.functions import Cosh
from schemas.workloads import Start
from workers.science.functions.gap_law import GapLaw
from workers.science.functions.starting_points import from_point_or_gap


class CoshFunction:
    """Strongly convex and PL with mu = k0. Gradient descent at a constant rate diverges from w_0 iff the rate is above
    2 w_0 / f'(w_0) (design/theory.md, T3)."""

    num_parameters = 1
    optimum = 0.0

    def __init__(self, spec: Cosh) -> None:
        self._k0, self._k1 = spec.k0, spec.k1
        self.law = GapLaw(rho=1.0, k0=spec.k0, k_rho=spec.k1, is_equality=True)

    def value(self, params_P: Tensor) -> Tensor:
        """f(w)."""
        return cosh_wall(params_P[0], self._k0, self._k1)

    def hessian_norm(self, params_P: Tensor) -> Tensor:
        """||Hessian||."""
        return self._k0 * torch.cosh(math.sqrt(self._k1) * params_P[0])

    def start(self, start: Start) -> Tensor:
        """The right-hand point of that gap, or the given point."""
        return from_point_or_gap(start, 1, lambda gap: cosh_point(gap, self._k0, self._k1))


def cosh_wall(w: Tensor, k0: float, k1: float) -> Tensor:
    """(k0/k1) (cosh(sqrt(k1) w) - 1), as 2 sinh^2(z/2): near the optimum cosh(z) - 1 would lose every digit."""
    return (2.0 * k0 / k1) * torch.sinh(0.5 * math.sqrt(k1) * w).square()


def cosh_point(gap: float, k0: float, k1: float) -> float:
    """The w >= 0 of that gap: acosh(1 + gap k1/k0) / sqrt(k1), as 2 asinh(sqrt(gap k1 / (2 k0))) / sqrt(k1)."""
    return 2.0 * math.asinh(math.sqrt(0.5 * gap * k1 / k0)) / math.sqrt(k1)
