"""The same ratio from each update to the next: s^(1 - x)."""

import numpy as np
from numpy.typing import NDArray

from schemas.warmups import GeometricWarmup


def warmup(spec: GeometricWarmup, position: NDArray[np.float64]) -> NDArray[np.float64]:
    """From s = start_factor to 1; the area under it is (1 - s) / log(1/s)."""
    curve: NDArray[np.float64] = spec.start_factor ** (1.0 - position)
    return curve
