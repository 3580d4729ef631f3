"""RAdam's rectification as a warmup factor (arXiv 1908.03265, eq. 8)."""

import numpy as np
from numpy.typing import NDArray

from schemas.second_moment import first_rectified, radam_factor
from schemas.warmups import RAdamWarmup


def warmup(spec: RAdamWarmup, update: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of the updates t = 1, 2, ...: that of t - 1 + the first t with rho_t > 4, so that none is without."""
    assert spec.beta2 is not None, "resolved with the optimizer's beta2"
    curve: NDArray[np.float64] = radam_factor(update + (first_rectified(spec.beta2) - 1), spec.beta2)
    return curve
