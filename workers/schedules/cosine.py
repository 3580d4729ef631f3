"""Half a cosine, from the peak to the floor (arXiv 1608.03983, eq. 5, one cycle)."""

import numpy as np
from numpy.typing import NDArray

from schemas.schedules import CosineDecay


def decay(spec: CosineDecay, progress: NDArray[np.float64]) -> NDArray[np.float64]:
    """floor + (1 - floor) (1 + cos(pi u)) / 2."""
    return spec.floor + (1.0 - spec.floor) * 0.5 * (1.0 + np.cos(np.pi * progress))
