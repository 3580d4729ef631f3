"""At which steps each probe of each trial is taken, and what it may spend: the probe budget, kept."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from schemas.catalog import DatasetFacts, dataset_facts
from schemas.probes import Probe, SecantSmoothness
from schemas.study import StudyFields, probe_name
from schemas.trials import ProbePoints, TrialSpec, batch_size_of, total_steps
from schemas.workloads import Analytic

GRADIENTS_PER_HVP = 2
"""design/contracts.md, Probes: one HVP counts as two gradients."""
GRADIENTS_PER_SECANT = 2
GRADIENTS_PER_SHARPNESS = 1
"""Lanczos starts from the gradient, too; its Hessian-vector products come on top."""
MIN_HVPS = 4
"""Fewer Hessian-vector products than this, per batch, say nothing about a largest eigenvalue."""


@dataclass(frozen=True)
class MeasurementPlan:
    """What one trial measures."""

    points: Mapping[str, ProbePoints]
    """Probe name -> its points."""
    thinned: Mapping[str, tuple[int, int]]
    """Probe name -> (points kept, points asked for), where the budget did not allow all."""
    gradients: float
    """Gradient equivalents that its probes may spend, HVPs included, in training-batch gradients."""
    gradients_of_hvps: float
    """The part of `gradients` that Hessian-vector products make up."""

    @property
    def hvps_allowed(self) -> int:
        """Over all probes."""
        return sum(points.hvps_allowed for points in self.points.values())


@dataclass(frozen=True)
class _Cost:
    """What one point of a probe costs."""

    num_batches: int
    batch_gradients: float
    """One gradient of one probe batch, in training-batch gradients: a batch twice as large costs twice as much."""
    fixed_gradients: int
    takes_hvps: bool
    max_hvps: int

    def point(self, hvps_per_batch: float) -> float:
        """In training-batch gradients."""
        hvps = hvps_per_batch * self.takes_hvps
        return self.num_batches * self.batch_gradients * (self.fixed_gradients + GRADIENTS_PER_HVP * hvps)


Key = tuple[int, int | None]
"""Trials of one study with equal keys measure alike: (identity of the workload, warmup steps)."""


def measurement_plans(
    trials: Sequence[TrialSpec], fields: StudyFields, datasets: Mapping[str, DatasetFacts]
) -> dict[Key, MeasurementPlan]:
    """One plan per distinct key.

    What a trial measures follows from its own spec, the probes and their budget alone, never from the trials beside it:
    the measurement id says all of it, and a finished trial may be reused by a study with other schedules.
    """
    keys = {measurement_key(trial): trial for trial in trials}
    plans: dict[Key, MeasurementPlan] = {}
    for workload in {key[0]: trial.workload for key, trial in keys.items()}.values():
        facts = dataset_facts(workload, datasets)
        steps = total_steps(workload, facts)
        train_batch = batch_size_of(workload, facts.num_train if facts else 0)
        per_batch = None if isinstance(workload, Analytic) else train_batch
        costs = {probe_name(probe): _cost(probe, per_batch) for probe in fields.probes}
        stride = _thinning_stride(fields, costs, steps)
        hvps = _hvps_per_batch(fields, costs, stride, steps) if stride is not None else 0.0
        for key, trial in keys.items():
            if key[0] == id(workload):
                plans[key] = _plan(_asked_points(trial, fields.probes, steps), costs, stride, hvps)
    return plans


def measurement_key(trial: TrialSpec) -> Key:
    """What decides a trial's probe points."""
    return (id(trial.workload), trial.schedule.warmup_steps(0))


def most_points(probe: Probe, total: int) -> int:
    """How many points any trial can ask for: the regular ones, and those of a warmup between (its first is step 0)."""
    return math.ceil(total / probe.every_steps) + max(0, probe.during_warmup - 1)


def _asked_points(trial: TrialSpec, probes: Sequence[Probe], total: int) -> dict[str, list[int]]:
    warmup_steps = trial.schedule.warmup_steps(total) or 0
    return {probe_name(probe): _points(probe, total, warmup_steps) for probe in probes}


def _points(probe: Probe, total: int, warmup_steps: int) -> list[int]:
    regular = set(range(0, total, probe.every_steps))
    extra = {index * warmup_steps // probe.during_warmup for index in range(probe.during_warmup)}
    return sorted(regular | (extra if warmup_steps else set()))


def _cost(probe: Probe, train_batch: int | None) -> _Cost:
    """Args: train_batch: examples per training batch; None for an analytic function, which has no batches."""
    secant = isinstance(probe, SecantSmoothness)
    return _Cost(
        num_batches=probe.batch.count if train_batch is not None else 1,
        batch_gradients=(probe.batch.size or train_batch) / train_batch if train_batch is not None else 1.0,
        fixed_gradients=GRADIENTS_PER_SECANT if secant else GRADIENTS_PER_SHARPNESS,
        takes_hvps=not secant,
        max_hvps=0 if isinstance(probe, SecantSmoothness) else probe.max_hvps,
    )


def _thinning_stride(fields: StudyFields, costs: Mapping[str, _Cost], total: int) -> int | None:
    """The smallest m such that every m-th point of every probe fits the budget at the least cost per point; None: no m.

    Counted for the most points that any schedule could ask for, so that all schedules are thinned alike.
    """
    most = {probe_name(probe): most_points(probe, total) for probe in fields.probes}

    def fits(stride: int) -> bool:
        cost = sum(math.ceil(count / stride) * costs[name].point(MIN_HVPS) for name, count in most.items())
        return cost <= fields.probe_budget * total * (1 + 1e-12)

    low, high = 1, max(most.values(), default=1)
    if not fits(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle + 1, high)
    return low


def _hvps_per_batch(fields: StudyFields, costs: Mapping[str, _Cost], stride: int, total: int) -> float:
    """What is left of the budget in the dearest case, shared out evenly over the batches of the eigenvalue probes."""
    counts = {probe_name(probe): math.ceil(most_points(probe, total) / stride) for probe in fields.probes}
    fixed = sum(count * costs[name].point(0) for name, count in counts.items())
    per_hvp = sum(count * (costs[name].point(1) - costs[name].point(0)) for name, count in counts.items())
    return (fields.probe_budget * total - fixed) / per_hvp if per_hvp else 0.0


def _plan(
    asked: Mapping[str, list[int]], costs: Mapping[str, _Cost], stride: int | None, hvps_per_batch: float
) -> MeasurementPlan:
    kept = {name: points[::stride] if stride is not None else [] for name, points in asked.items()}
    points, fixed, of_hvps = {}, 0.0, 0.0
    for name, cost in costs.items():
        num_batches = cost.num_batches * len(kept[name]) * cost.takes_hvps
        hvps = math.floor(min(hvps_per_batch, cost.max_hvps) * num_batches * (1 + 1e-12))
        fixed += len(kept[name]) * cost.point(0)
        of_hvps += hvps * GRADIENTS_PER_HVP * cost.batch_gradients
        points[name] = ProbePoints(steps=tuple(kept[name]), hvps_allowed=hvps)
    thinned = {name: (len(kept[name]), len(asked[name])) for name in asked if len(kept[name]) < len(asked[name])}
    return MeasurementPlan(points, thinned, fixed + of_hvps, of_hvps)
