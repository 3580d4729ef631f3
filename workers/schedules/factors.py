"""The factor of every update of a run: warmup, then decay, joined as design/contracts.md says."""

import numpy as np
from numpy.typing import NDArray

from schemas.schedule_checks import beta2_problems, run_problems, schedule_problems
from schemas.schedules import ClosedLoopWarmup, Decay, Schedule
from schemas.warmups import PluginWarmup, ReplayWarmup, Warmup
from workers.schedules.own import own_factors
from workers.schedules.progress import Progress
from workers.schedules.registry import ASYMPTOTIC, DECAYS, WARMUPS, WHOLE

FloatArray = NDArray[np.float64]


def factors(schedule: Schedule, total_steps: int) -> FloatArray:
    """float64[T]: update k (zero-based) is made at `peak_lr * factors[k]`.

    Raises:
        ValueError: the warmup is longer than the run, is a closed loop (its rates do not exist before the run), or the
            schedule is none that a study may have.
    """
    warmup = schedule.warmup
    if isinstance(warmup, ClosedLoopWarmup):
        raise ValueError(f"warmup.kind: got {warmup.kind}, allowed a schedule known before the run")
    problems = schedule_problems(schedule) or beta2_problems(schedule, None)
    problems = problems or run_problems(schedule, total_steps, "the run's steps")
    if problems:
        raise ValueError("\n".join(map(str, problems)))
    schedule = schedule.resolve(total_steps)
    if schedule.decay.kind in WHOLE:
        return WHOLE[schedule.decay.kind](schedule.decay, schedule, total_steps)
    warmup, first = schedule.warmup, schedule.first_position
    end_step = schedule.end_step(total_steps)
    assert end_step is not None
    decayed = decay_factors(schedule.decay, end_step, total_steps, first)
    if isinstance(warmup, PluginWarmup):
        return decayed * own_factors(warmup, end_step, total_steps)
    if isinstance(warmup, ReplayWarmup):
        decayed[:end_step] = np.array(warmup.rates) / warmup.peak_lr
        return decayed
    if warmup.kind in ASYMPTOTIC:
        return decayed * ASYMPTOTIC[warmup.kind](warmup, np.arange(1, total_steps + 1, dtype=np.float64))
    decayed[:end_step] = warmup_factors(warmup, end_step, first)
    return decayed


def warmup_factors(warmup: Warmup, warmup_steps: int, first_position: int = 1) -> FloatArray:
    """float64[W]: the factors of updates 0 ... W-1; in ours the last one is 1."""
    if warmup_steps == 0:
        return np.ones(0)
    position = np.arange(first_position, warmup_steps + first_position, dtype=np.float64) / warmup_steps
    return WARMUPS[warmup.kind](warmup, position)


def decay_factors(decay: Decay, warmup_steps: int, total_steps: int, first_position: int = 1) -> FloatArray:
    """float64[T]: 1 while the warmup lasts, then the decay.

    Progress u = (k - W' + 1) / (T - W' + 1), W' = max(W, 1): u = 0 at the peak, and u < 1 at the last update, so that
    no update is wasted at rate 0. With first_position 0: u = (k - W) / (T - W).
    """
    start = max(warmup_steps, first_position)
    step = np.arange(total_steps, dtype=np.float64)
    at = Progress(
        xp=np,
        since_peak=np.clip(step - start + first_position, 0.0, None),
        length=float(max(total_steps - start + first_position, 1)),
        peak=float(start),
        spare=first_position,
    )
    decayed: FloatArray = DECAYS[decay.kind](decay.resolved(total_steps), at)
    decayed[: min(start, total_steps)] = 1.0
    return decayed
