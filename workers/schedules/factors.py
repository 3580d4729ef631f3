"""The factor of every update of a run: warmup, then decay, joined as design/contracts.md says."""

import numpy as np
from numpy.typing import NDArray

from schemas.schedules import Decay, Schedule, SmoothnessLawWarmup, Warmup
from workers.schedules.registry import DECAYS, WARMUPS

FloatArray = NDArray[np.float64]


def factors(schedule: Schedule, total_steps: int) -> FloatArray:
    """float64[T]: update k (zero-based) is made at `peak_lr * factors[k]`.

    Raises:
        ValueError: the warmup is longer than the run, or is a closed loop (its rates do not exist before the run).
    """
    if isinstance(schedule.warmup, SmoothnessLawWarmup):
        raise ValueError(f"warmup.kind: got {schedule.warmup.kind}, allowed a schedule known before the run")
    warmup_steps = schedule.warmup_steps(total_steps)
    assert warmup_steps is not None
    if warmup_steps > total_steps:
        raise ValueError(f"warmup.steps: got {warmup_steps}, allowed at most the run's {total_steps} steps")
    warming = warmup_factors(schedule.warmup, warmup_steps)
    decaying = decay_factors(schedule.decay, warmup_steps, total_steps)
    decaying[:warmup_steps] = warming[:total_steps]
    return decaying


def warmup_factors(warmup: Warmup, warmup_steps: int) -> FloatArray:
    """float64[W]: the factors of updates 0 ... W-1; the last one is 1."""
    if warmup_steps == 0:
        return np.ones(0)
    position = np.arange(1, warmup_steps + 1, dtype=np.float64) / warmup_steps
    return WARMUPS[warmup.kind](warmup, position)


def decay_factors(decay: Decay, warmup_steps: int, total_steps: int) -> FloatArray:
    """float64[T]: 1 while the warmup lasts, then the decay.

    Progress u = (k - W' + 1) / (T - W' + 1), W' = max(W, 1): u = 0 at the peak, and u < 1 at the last update, so that
    no update is wasted at rate 0.
    """
    start = max(warmup_steps, 1)
    step = np.arange(total_steps, dtype=np.float64)
    progress = np.clip((step - start + 1) / (total_steps - start + 1), 0.0, None)
    decayed = DECAYS[decay.kind](decay, progress)
    decayed[: min(start, total_steps)] = 1.0
    return decayed
