"""kind -> curve, one line each."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.schedules import (
    constant,
    constant_low,
    cosine,
    exponential,
    exponential_concave,
    exponential_convex,
    geometric,
    inverse_sqrt,
    linear,
    noam,
    none,
    one_cycle,
    piecewise_linear,
    polynomial,
    radam,
    sqrt,
    untuned_linear,
    wsd,
)

Curve = Callable[[Any, NDArray[np.float64]], NDArray[np.float64]]

WARMUPS: dict[str, Curve] = {
    "none": none.warmup,
    "linear": linear.warmup,
    "exponential_convex": exponential_convex.warmup,
    "polynomial": polynomial.warmup,
    "sqrt": sqrt.warmup,
    "cosine": cosine.warmup,
    "geometric": geometric.warmup,
    "piecewise_linear": piecewise_linear.warmup,
    "constant_low": constant_low.warmup,
    "untuned_linear": untuned_linear.warmup,
}
"""Curve over position x = (k + 1) / W in (0, 1]; 1 at x = 1."""

ASYMPTOTIC: dict[str, Curve] = {
    "exponential_concave": exponential_concave.warmup,
    "untuned_exponential": exponential_concave.untuned,
    "radam": radam.warmup,
}
"""Curve over the updates t = k + 1, tending to 1: it multiplies the decay."""

DECAYS: dict[str, Callable[[Any, Any], Any]] = {
    "constant": constant.decay,
    "cosine": cosine.decay,
    "linear": linear.decay,
    "exponential": exponential.decay,
    "inverse_sqrt": inverse_sqrt.decay,
    "wsd": wsd.decay,
}
"""Curve over a Progress behind the peak, in numpy or in torch; 1 at the peak."""

WHOLE: dict[str, Callable[[Any, Any, int], NDArray[np.float64]]] = {
    "noam": noam.whole,
    "one_cycle": one_cycle.whole,
}
"""The factors of a whole run, of the decays that rise to their peak by themselves."""
