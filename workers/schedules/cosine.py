"""Half a cosine: up to the peak, or from there to the floor (arXiv 1608.03983, eq. 5, one cycle)."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.decays import CosineDecay
from schemas.warmups import CosineWarmup
from workers.schedules.progress import Progress


def warmup(_spec: CosineWarmup, position: NDArray[np.float64]) -> NDArray[np.float64]:
    """(1 - cos(pi x)) / 2; the area under it is 1/2."""
    curve: NDArray[np.float64] = 0.5 * (1.0 - np.cos(np.pi * position))
    return curve


def decay(spec: CosineDecay, at: Progress) -> Any:
    """floor + (1 - floor) (1 + cos(pi u)) / 2."""
    return spec.floor + (1.0 - spec.floor) * 0.5 * (1.0 + at.xp.cos(math.pi * at.u))
