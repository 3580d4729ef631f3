"""What is known of a function's curvature: ||Hessian|| <= K0 + Krho gap^rho."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class GapLaw:
    """The constants of (rho, K0, Krho)-smoothness (arXiv 2509.07972, Definition 1)."""

    rho: float
    k0: float
    k_rho: float
    is_equality: bool
    """True where the bound is attained everywhere."""

    def bound(self, gap: float) -> float:
        """K0 + Krho gap^rho."""
        return self.k0 + self.k_rho * math.pow(gap, self.rho)
