"""A linear warmup whose length follows from beta2: min(1, (1 - beta2) t / 2) (arXiv 1910.04209)."""

import numpy as np
from numpy.typing import NDArray

from schemas.second_moment import time_constant
from schemas.warmups import UntunedLinearWarmup


def warmup(spec: UntunedLinearWarmup, position: NDArray[np.float64]) -> NDArray[np.float64]:
    """t = x W. 2 / (1 - beta2) is seldom an integer: W is the next one, and its update is made at the peak."""
    assert spec.beta2 is not None, "resolved with the optimizer's beta2"
    slope = spec.end_step(0) / (2.0 * time_constant(spec.beta2))
    return np.minimum(1.0, max(1.0, slope) * position)
