"""What a plan will cost: counts that are known, and a time interval from what packs took before."""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import quantiles

from schemas.catalog import DatasetFacts
from schemas.study import StudyFields
from schemas.trials import TrialSpec
from workers.planning.measurement import Key, MeasurementPlan, measurement_key
from workers.planning.packs import PackPlan
from workers.planning.rows import BYTES_PER_ROW, record_rows


@dataclass(frozen=True)
class Estimate:
    """Totals over a plan."""

    trials: int
    packs: int
    steps: int
    gradients: float
    """Training and probe gradients without HVPs, in training-batch gradients, at most."""
    hvps: int
    """At most."""
    record_rows: int
    record_bytes: int
    seconds: tuple[float, float] | None
    """Interval of training time, None where no pack of these groups has run on this device class."""
    thinned: Mapping[str, tuple[int, int]]


def estimate(
    trials: Sequence[TrialSpec],
    packs: Sequence[PackPlan],
    plans: Mapping[Key, MeasurementPlan],
    fields: StudyFields,
    datasets: Mapping[str, DatasetFacts],
    *,
    workers: int,
    pack_seconds_per_step: Mapping[str, Sequence[float]] | None = None,
) -> Estimate:
    """Totals of a plan.

    Args:
        workers: packs that train at the same time.
        pack_seconds_per_step: group key -> seconds per pack step of past packs of the planned size.
    """
    steps_of = {trial_id: pack.total_steps for pack in packs for trial_id in pack.trial_ids}
    steps = gradients = hvps = 0.0
    rows = dict.fromkeys(BYTES_PER_ROW, 0)
    thinned: dict[str, tuple[int, int]] = {}
    for trial in trials:
        plan = plans[measurement_key(trial)]
        steps += steps_of[trial.trial_id]
        hvps += plan.hvps_allowed
        gradients += steps_of[trial.trial_id] + plan.gradients - plan.gradients_of_hvps
        thinned.update(plan.thinned)
        for table, count in record_rows(trial, plan, steps_of[trial.trial_id]).items():
            rows[table] += count
    return Estimate(
        trials=len(trials),
        packs=len(packs),
        steps=int(steps),
        gradients=gradients,
        hvps=int(hvps),
        record_rows=sum(rows.values()),
        record_bytes=sum(count * BYTES_PER_ROW[table] for table, count in rows.items()),
        seconds=time_interval(packs, workers, pack_seconds_per_step or {}),
        thinned=thinned,
    )


def time_interval(
    packs: Sequence[PackPlan], workers: int, pack_seconds_per_step: Mapping[str, Sequence[float]]
) -> tuple[float, float] | None:
    """Lower and upper training time in seconds: each pack at the 10 % and the 90 % quantile of its group's past.

    None unless every group has a past. Packs are shared out to `workers` longest first, as the driver does.
    """
    if not packs or any(not pack_seconds_per_step.get(pack.group_key) for pack in packs):
        return None
    low, high = [], []
    for pack in packs:
        past = sorted(pack_seconds_per_step[pack.group_key])
        deciles = quantiles(past, n=10) if len(past) > 1 else [past[0] * 0.8, past[0] * 1.25]
        low.append(max(deciles[0], past[0] * 0.8) * pack.total_steps)
        high.append(min(deciles[-1], past[-1] * 1.25) * pack.total_steps)
    return _makespan(low, workers), _makespan(high, workers)


def _makespan(seconds: list[float], workers: int) -> float:
    loads = [0.0] * max(1, workers)
    for duration in sorted(seconds, reverse=True):
        heapq.heapreplace(loads, loads[0] + duration)
    return max(loads)
