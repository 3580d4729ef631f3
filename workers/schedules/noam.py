"""Warmup and decay of the first transformer in one curve (arXiv 1706.03762, eq. 3), relative to its peak."""

import numpy as np
from numpy.typing import NDArray

from schemas.schedules import NoamDecay, Schedule


def whole(spec: NoamDecay, _schedule: Schedule, total_steps: int) -> NDArray[np.float64]:
    """min(t / W, sqrt(W / t)), t = k + 1: times 1 / sqrt(d W) it is d^-0.5 min(t^-0.5, t W^-1.5)."""
    warmup_steps = spec.end_step(total_steps)
    made = np.arange(1, total_steps + 1, dtype=np.float64)
    return np.minimum(made / warmup_steps, np.sqrt(warmup_steps / made))
