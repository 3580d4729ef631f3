"""kind -> curve, one line each."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.schedules import constant, cosine, exponential_convex, linear, none

Curve = Callable[[Any, NDArray[np.float64]], NDArray[np.float64]]

WARMUPS: dict[str, Curve] = {
    "none": none.warmup,
    "linear": linear.warmup,
    "exponential_convex": exponential_convex.warmup,
}
"""Curve over position x = (k + 1) / W in (0, 1]; 1 at x = 1."""

DECAYS: dict[str, Curve] = {
    "constant": constant.decay,
    "cosine": cosine.decay,
    "linear": linear.decay,
}
"""Curve over progress u in [0, 1); 1 at u = 0."""
