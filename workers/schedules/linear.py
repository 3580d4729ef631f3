"""Straight lines: linear warmup and linear decay."""

import numpy as np
from numpy.typing import NDArray

from schemas.schedules import LinearDecay, LinearWarmup


def warmup(spec: LinearWarmup, position: NDArray[np.float64]) -> NDArray[np.float64]:
    """s + (1 - s) x, with s = start_factor."""
    return spec.start_factor + (1.0 - spec.start_factor) * position


def decay(spec: LinearDecay, progress: NDArray[np.float64]) -> NDArray[np.float64]:
    """floor + (1 - floor) (1 - u)."""
    return spec.floor + (1.0 - spec.floor) * (1.0 - progress)
