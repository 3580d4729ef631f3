"""A power of the position: x^alpha (arXiv 2505.23420)."""

import numpy as np
from numpy.typing import NDArray

from schemas.warmups import PolynomialWarmup


def warmup(spec: PolynomialWarmup, position: NDArray[np.float64]) -> NDArray[np.float64]:
    """From 0 to 1; the area under it is 1 / (alpha + 1)."""
    curve: NDArray[np.float64] = position**spec.alpha
    return curve
