"""What a plan will cost: counts that are known, and a time interval from what packs took before."""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import quantiles

from schemas.catalog import DatasetFacts
from schemas.study import StudyFields
from schemas.trials import TrialSpec
from workers.planning.calibration import Calibration
from workers.planning.measurement import GRADIENTS_PER_HVP, Key, MeasurementPlan, measurement_key, start_cost
from workers.planning.packs import PackPlan
from workers.planning.rows import BYTES_PER_ROW, record_rows

ALIKE = 0.05
"""Packs whose gradients per step differ by less than this share cost alike."""
PROBE_PRICE = (1.0, 4.0)
"""Seconds of a probe's gradient equivalent over those of a training one: 0.8 to 3.3 on the digits MLP, 2 cores."""


@dataclass(frozen=True)
class PastPack:
    """What a step of a pack took before, and its gradient equivalents per trial; None: not known."""

    seconds_per_step: float
    gradients_per_step: float | None = None


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
    thinned: Mapping[str, tuple[tuple[int, int], ...]]
    """Probe name -> (points kept, points asked for) of each kind of trial, where the budget did not allow all."""


def estimate(
    trials: Sequence[TrialSpec],
    packs: Sequence[PackPlan],
    plans: Mapping[Key, MeasurementPlan],
    fields: StudyFields,
    datasets: Mapping[str, DatasetFacts],
    *,
    workers: int,
    past: Mapping[str, Sequence[PastPack]] | None = None,
    calibrated: Mapping[str, Calibration] | None = None,
) -> Estimate:
    """Totals of a plan.

    Args:
        workers: packs that train at the same time.
        past: group key -> past packs of the planned size.
        calibrated: group key -> what was measured of it; where there is one, the past is not asked.
    """
    steps_of = {trial_id: pack.total_steps for pack in packs for trial_id in pack.trial_ids}
    steps = gradients = hvps = 0.0
    rows = dict.fromkeys(BYTES_PER_ROW, 0)
    for trial in trials:
        plan = plans[measurement_key(trial)]
        start_gradients, start_hvps = start_cost(trial)
        steps += steps_of[trial.trial_id]
        hvps += plan.hvps_allowed + start_hvps
        gradients += steps_of[trial.trial_id] + plan.gradients - plan.gradients_of_hvps + start_gradients
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
        seconds=time_interval(packs, workers, past or {}, _loads(trials, packs, plans), calibrated),
        thinned=thinned_points(plans.values()),
    )


def _loads(
    trials: Sequence[TrialSpec], packs: Sequence[PackPlan], plans: Mapping[Key, MeasurementPlan]
) -> dict[str, float]:
    plan_of = {trial.trial_id: plans[measurement_key(trial)] for trial in trials}
    return {
        pack.pack_id: gradients_per_step([plan_of[id_] for id_ in pack.trial_ids], pack.total_steps) for pack in packs
    }


def gradients_of_packs(
    trials: Sequence[TrialSpec], packs: Sequence[PackPlan], plans: Mapping[Key, MeasurementPlan]
) -> list[float]:
    """What each pack costs at most, in gradient equivalents over its trials, probes included: what a study's
    `budget.gradients` is counted in."""
    loads = _loads(trials, packs, plans)
    starts = {trial.trial_id: start_cost(trial) for trial in trials if trial.relative_to is not None}
    of_starts = {id_: gradients + GRADIENTS_PER_HVP * hvps for id_, (gradients, hvps) in starts.items()}
    return [
        loads[pack.pack_id] * pack.total_steps * len(pack.trial_ids)
        + sum(of_starts.get(id_, 0) for id_ in pack.trial_ids)
        for pack in packs
    ]


def thinned_points(plans: Iterable[MeasurementPlan]) -> dict[str, tuple[tuple[int, int], ...]]:
    """Probe name -> (points kept, points asked for), each distinct pair once."""
    pairs: dict[str, set[tuple[int, int]]] = {}
    for plan in plans:
        for name, counts in plan.thinned.items():
            pairs.setdefault(name, set()).add(counts)
    return {name: tuple(sorted(found)) for name, found in pairs.items()}


def gradients_per_step(plans: Sequence[MeasurementPlan], total_steps: int) -> float:
    """Gradient equivalents of one step of a pack, per trial: 1 for the update, and what `plans` allow its probes."""
    return 1.0 + sum(plan.gradients for plan in plans) / (len(plans) * total_steps)


def time_interval(
    packs: Sequence[PackPlan],
    workers: int,
    past: Mapping[str, Sequence[PastPack]],
    loads: Mapping[str, float] | None = None,
    calibrated: Mapping[str, Calibration] | None = None,
) -> tuple[float, float] | None:
    """Lower and upper training time in seconds: each pack at the 10 % and the 90 % quantile of its group's past, or as
    it was measured.

    None unless every group has a past or a measurement. Packs are shared out to `workers` longest first, as the driver
    does.

    Args:
        past: group key -> past packs of the planned size.
        loads: pack id -> its gradients per step; 1 where it is not named.
        calibrated: group key -> what was measured of it; where there is one, the past is not asked.
    """
    measured = calibrated or {}
    if not packs or any(not past.get(pack.group_key) and pack.group_key not in measured for pack in packs):
        return None
    low, high = [], []
    for pack in packs:
        if pack.group_key in measured:
            load = (loads or {}).get(pack.pack_id, 1.0)
            bounds = measured[pack.group_key].seconds(pack.total_steps, load, PROBE_PRICE)
            low.append(bounds[0])
            high.append(bounds[1])
            continue
        seconds = _seconds_per_step(past[pack.group_key], (loads or {}).get(pack.pack_id, 1.0))
        low.append(_quantiles(lower for lower, _ in seconds)[0] * pack.total_steps)
        high.append(_quantiles(upper for _, upper in seconds)[1] * pack.total_steps)
    return _makespan(low, workers), _makespan(high, workers)


def _seconds_per_step(past: Sequence[PastPack], load: float) -> list[tuple[float, float]]:
    """Lower and upper seconds per step at `load`: as seen where a pack measured as much, else scaled by the load."""
    alike = [pack.seconds_per_step for pack in past if pack.gradients_per_step is None or _is_alike(pack, load)]
    if alike:
        return [(seconds, seconds) for seconds in alike]
    return [_scaled(pack.seconds_per_step, pack.gradients_per_step or 1.0, load) for pack in past]


def _is_alike(pack: PastPack, load: float) -> bool:
    return abs((pack.gradients_per_step or 1.0) / load - 1.0) <= ALIKE


def _scaled(seconds: float, seen: float, load: float) -> tuple[float, float]:
    ratios = [(1.0 + price * (load - 1.0)) / (1.0 + price * (seen - 1.0)) for price in PROBE_PRICE]
    return seconds * min(ratios), seconds * max(ratios)


def _quantiles(seconds: Iterable[float]) -> tuple[float, float]:
    ordered = sorted(seconds)
    deciles = quantiles(ordered, n=10) if len(ordered) > 1 else [ordered[0] * 0.8, ordered[0] * 1.25]
    return max(deciles[0], ordered[0] * 0.8), min(deciles[-1], ordered[-1] * 1.25)


def _makespan(seconds: list[float], workers: int) -> float:
    loads = [0.0] * max(1, workers)
    for duration in sorted(seconds, reverse=True):
        heapq.heapreplace(loads, loads[0] + duration)
    return max(loads)
