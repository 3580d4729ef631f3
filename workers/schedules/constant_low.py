"""A low constant rate, then the peak at once (arXiv 1512.03385, section 4.2)."""

import numpy as np
from numpy.typing import NDArray

from schemas.warmups import ConstantLowWarmup


def warmup(spec: ConstantLowWarmup, position: NDArray[np.float64]) -> NDArray[np.float64]:
    """`factor` below x = 1, and 1 there."""
    return np.where(position < 1.0, spec.factor, 1.0)
