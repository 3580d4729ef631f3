"""A warmup that starts slowly: (exp(alpha x) - 1) / (exp(alpha) - 1) (arXiv 2505.23420; alpha -> 0 is linear)."""

import numpy as np
from numpy.typing import NDArray

from schemas.warmups import ExponentialConvexWarmup


def warmup(spec: ExponentialConvexWarmup, position: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convex from 0 to 1; the area under it is 1/alpha - 1/(exp(alpha) - 1)."""
    curve: NDArray[np.float64] = np.expm1(spec.alpha * position) / np.expm1(spec.alpha)
    return curve
