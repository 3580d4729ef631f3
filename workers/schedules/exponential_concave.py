"""1 - exp(-t / tau): fast at first, and never quite at the peak."""

import numpy as np
from numpy.typing import NDArray

from schemas.second_moment import time_constant
from schemas.warmups import ExponentialConcaveWarmup, UntunedExponentialWarmup


def warmup(spec: ExponentialConcaveWarmup, update: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of the updates t = 1, 2, ...; the sum of 1 minus it is 1 / (exp(1/tau) - 1)."""
    assert spec.tau_steps is not None, "resolved"
    return -np.expm1(-update / spec.tau_steps)


def untuned(spec: UntunedExponentialWarmup, update: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same with tau = 1 / (1 - beta2) (arXiv 1910.04209)."""
    assert spec.beta2 is not None, "resolved with the optimizer's beta2"
    return -np.expm1(-update / time_constant(spec.beta2))
