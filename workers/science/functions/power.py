"""F2: w^p, p even: no quadratic part, curvature p (p - 1) gap^(1 - 2/p)."""

from torch import Tensor

from schemas.functions import Power
from schemas.workloads import Start
from workers.science.functions.gap_law import GapLaw
from workers.science.functions.starting_points import from_point_or_gap


class PowerFunction:
    """Convex. At the rate 1 / (Krho gap^rho) each step is w <- w (p - 2)/(p - 1) (design/theory.md, T4)."""

    num_parameters = 1
    optimum = 0.0

    def __init__(self, spec: Power) -> None:
        self._p = spec.p
        self.law = GapLaw(rho=1.0 - 2.0 / spec.p, k0=0.0, k_rho=float(spec.p * (spec.p - 1)), is_equality=True)

    def value(self, params_P: Tensor) -> Tensor:
        """f(w)."""
        return params_P[0].pow(self._p)

    def hessian_norm(self, params_P: Tensor) -> Tensor:
        """||Hessian||."""
        return self._p * (self._p - 1) * params_P[0].pow(self._p - 2)

    def start(self, start: Start) -> Tensor:
        """gap^(1/p), or the given point."""
        return from_point_or_gap(start, 1, lambda gap: gap ** (1.0 / self._p))
