"""The law K0 + Krho gap^rho as a formula: its value, its slope, and which measured points break it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

ROUNDING = 1e-9
"""A point breaks a bound where it is above it by more than this share: what rounding may add is none of its doing."""


@dataclass(frozen=True)
class PowerLaw:
    """||Hessian|| <= k0 + k_rho gap^rho (arXiv 2509.07972, Definition 1; rho = 1: arXiv 2510.03164, Definition 3.1)."""

    rho: float
    k0: float
    k_rho: float

    def at(self, gap: ArrayLike) -> Array:
        """K0 + Krho gap^rho, elementwise, gap >= 0."""
        return self.k0 + self.k_rho * np.power(np.asarray(gap, dtype=np.float64), self.rho)

    def slope(self, gap: ArrayLike) -> Array:
        """d log(law) / d log(gap): 0 where K0 rules, rho where the power does."""
        power = self.k_rho * np.power(np.asarray(gap, dtype=np.float64), self.rho)
        return np.divide(self.rho * power, self.k0 + power, out=np.zeros_like(power), where=self.k0 + power > 0)

    def scaled(self, factor: float) -> "PowerLaw":
        """The same shape, `factor` times as high."""
        return PowerLaw(self.rho, factor * self.k0, factor * self.k_rho)

    def share_violated(self, gap: ArrayLike, curvature: ArrayLike) -> float:
        """The share of points above the law; NaN without points."""
        above = np.asarray(curvature, dtype=np.float64) > self.at(gap) * (1.0 + ROUNDING)
        return float(above.mean()) if above.size else float("nan")


def smallest_k0(rho: float, k_rho: float, gap: ArrayLike, curvature: ArrayLike) -> float:
    """The least K0 >= 0 with which no point breaks the law of this rho and Krho.

    A function is in the class only if this stays bounded over all of its points: at (t, 1/t) of (xy - 1)^2 / 2 the gap
    is 0 and the curvature t^2 + t^-2, so that it grows with t, whatever rho and Krho are.
    """
    rest = np.asarray(curvature, dtype=np.float64) - PowerLaw(rho, 0.0, k_rho).at(gap)
    return max(0.0, float(rest.max(initial=0.0)))
