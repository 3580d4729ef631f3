"""Two straight lines that meet at a knee: a long time at a low rate, then up (arXiv 2505.23420)."""

import numpy as np
from numpy.typing import NDArray

from schemas.warmups import PiecewiseLinearWarmup


def warmup(spec: PiecewiseLinearWarmup, position: NDArray[np.float64]) -> NDArray[np.float64]:
    """From start_factor over (knee_position, knee_factor) to 1."""
    start, knee, at = spec.start_factor, spec.knee_factor, spec.knee_position
    below = start + (knee - start) * position / at
    above = knee + (1.0 - knee) * ((position - at) / (1.0 - at))
    return np.where(position < at, below, above)
