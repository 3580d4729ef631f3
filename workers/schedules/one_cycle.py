"""Up and down in one cycle (arXiv 1708.07120), with the defaults of torch.optim.lr_scheduler.OneCycleLR."""

import itertools

import numpy as np
from numpy.typing import NDArray

from schemas.schedules import OneCycleDecay, Schedule

FloatArray = NDArray[np.float64]


def whole(spec: OneCycleDecay, schedule: Schedule, total_steps: int) -> FloatArray:
    """From 1 / div_factor to 1 and down to 1 / (div_factor final_div_factor), as the convention counts."""
    return _interpolated(spec, _corners(spec, schedule.convention, total_steps), total_steps)


def _corners(spec: OneCycleDecay, convention: str, total_steps: int) -> list[tuple[float, float]]:
    """(update, factor) of the start, the peak, with three_phase the start's factor again, and the end."""
    low, end = 1.0 / spec.div_factor, 1.0 / (spec.div_factor * spec.final_div_factor)
    if convention == "ours":
        # as of every schedule: one update before the first, at the last of the way up, one update after the last
        up = float(spec.end_step(total_steps))
        first, peak, back, last = -1.0, up - 1.0, 2.0 * up - 1.0, float(total_steps)
    elif convention == "optax":
        first, peak, back, last = 0.0, float(int(spec.warmup_fraction * total_steps)), 0.0, float(total_steps)
    else:
        up = spec.warmup_fraction * total_steps
        first, peak, back, last = 0.0, up - 1.0, 2.0 * up - 2.0, total_steps - 1.0
    return [(first, low), (peak, 1.0), *([(back, low)] if spec.three_phase else []), (last, end)]


def _interpolated(spec: OneCycleDecay, corners: list[tuple[float, float]], total_steps: int) -> FloatArray:
    update = np.arange(total_steps, dtype=np.float64)
    curve = np.full(total_steps, corners[-1][1])
    for (left, start), (right, end) in reversed(list(itertools.pairwise(corners))):
        if right <= left:
            continue
        inside = update <= right
        part = (update[inside] - left) / (right - left)
        fallen = 0.5 * (1.0 + np.cos(np.pi * part)) if spec.anneal == "cosine" else 1.0 - part
        curve[inside] = end + (start - end) * fallen
    return curve
