"""Straight lines: linear warmup and linear decay."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.decays import LinearDecay
from schemas.warmups import LinearWarmup
from workers.schedules.progress import Progress


def warmup(spec: LinearWarmup, position: NDArray[np.float64]) -> NDArray[np.float64]:
    """s + (1 - s) x, with s = start_factor."""
    return spec.start_factor + (1.0 - spec.start_factor) * position


def decay(spec: LinearDecay, at: Progress) -> Any:
    """floor + (1 - floor) (1 - u)."""
    return spec.floor + (1.0 - spec.floor) * (1.0 - at.u)
