"""At which steps each probe of each trial is taken, and what it may spend: the probe budget, kept."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from schemas.catalog import DatasetFacts, dataset_facts
from schemas.probes import Probe, SecantSmoothness
from schemas.study import StudyFields, probe_name
from schemas.trials import ProbePoints, TrialSpec, batch_size_of, total_steps

GRADIENTS_PER_HVP = 2
"""design/contracts.md, Probes: one HVP counts as two gradients."""
GRADIENTS_PER_SECANT = 2
MIN_HVPS = 4
"""Fewer Hessian-vector products than this say nothing about a largest eigenvalue."""


@dataclass(frozen=True)
class MeasurementPlan:
    """What one trial measures."""

    points: Mapping[str, ProbePoints]
    """Probe name -> its points."""
    thinned: Mapping[str, tuple[int, int]]
    """Probe name -> (points kept, points asked for), where the budget did not allow all."""
    gradients: float
    """Gradient equivalents that its probes may spend, HVPs included, in training-batch gradients."""

    @property
    def hvps_allowed(self) -> int:
        """Over all probes."""
        return sum(points.hvps_allowed for points in self.points.values())


Key = tuple[object, str, int | None]
"""Trials with equal keys measure alike: (workload, optimizer kind, warmup steps)."""


def measurement_plans(
    trials: Sequence[TrialSpec], fields: StudyFields, datasets: Mapping[str, DatasetFacts]
) -> dict[Key, MeasurementPlan]:
    """One plan per distinct key. Thinning is the same for all trials of a workload: it is decided by its dearest trial."""
    keys = {measurement_key(trial): trial for trial in trials}
    plans: dict[Key, MeasurementPlan] = {}
    for workload in {id(trial.workload): trial.workload for trial in keys.values()}.values():
        alike = {key: trial for key, trial in keys.items() if trial.workload is workload}
        facts = dataset_facts(workload, datasets)
        steps = total_steps(workload, facts)
        batch_size = batch_size_of(workload, facts.num_train if facts else 0)
        asked = {key: _asked_points(trial, fields.probes, steps) for key, trial in alike.items()}
        stride = _thinning_stride(asked.values(), fields, steps, batch_size)
        for key, points in asked.items():
            plans[key] = _plan(points, fields, stride, steps, batch_size)
    return plans


def measurement_key(trial: TrialSpec) -> Key:
    """What decides a trial's probe points."""
    warmup_steps = trial.schedule.warmup_steps(0)
    return (id(trial.workload), trial.optimizer.kind, warmup_steps)


def _asked_points(trial: TrialSpec, probes: Sequence[Probe], total: int) -> dict[str, list[int]]:
    warmup_steps = trial.schedule.warmup_steps(total) or 0
    return {probe_name(probe): _points(probe, total, warmup_steps) for probe in probes}


def _points(probe: Probe, total: int, warmup_steps: int) -> list[int]:
    regular = set(range(0, total, probe.every_steps))
    extra = {math.floor(index * warmup_steps / probe.during_warmup) for index in range(probe.during_warmup)}
    return sorted(regular | (extra if warmup_steps else set()))


def _cost_per_point(probe: Probe, hvps: int, batch_size: int) -> float:
    """In training-batch gradients: a probe batch twice as large costs twice as much."""
    scale = probe.batch.count * (probe.batch.size or batch_size) / batch_size
    if isinstance(probe, SecantSmoothness):
        return GRADIENTS_PER_SECANT * scale
    return GRADIENTS_PER_HVP * hvps * scale


def _thinning_stride(asked: object, fields: StudyFields, total: int, batch_size: int) -> int:
    """The smallest m such that every m-th point of every probe fits the budget at the least cost per point."""
    budget = fields.probe_budget * total
    dearest = max(
        (
            sum(
                len(points[probe_name(probe)]) * _cost_per_point(probe, MIN_HVPS, batch_size)
                for probe in fields.probes
            )
            for points in asked  # type: ignore[attr-defined]
        ),
        default=0.0,
    )
    if dearest <= budget:
        return 1
    return math.ceil(dearest / budget) if budget > 0 else total + 1


def _plan(
    asked: Mapping[str, list[int]], fields: StudyFields, stride: int, total: int, batch_size: int
) -> MeasurementPlan:
    budget = fields.probe_budget * total
    kept = {name: points[::stride] if budget > 0 else [] for name, points in asked.items()}
    by_name = {probe_name(probe): probe for probe in fields.probes}
    spent = sum(
        len(kept[name]) * _cost_per_point(probe, 0, batch_size)
        for name, probe in by_name.items()
        if isinstance(probe, SecantSmoothness)
    )
    eigen = {name: probe for name, probe in by_name.items() if not isinstance(probe, SecantSmoothness)}
    per_point = sum(len(kept[name]) * _cost_per_point(probe, 1, batch_size) for name, probe in eigen.items())
    affordable = (budget - spent) / per_point if per_point else 0.0
    points, gradients = {}, spent
    for name, probe in by_name.items():
        hvps = 0
        if name in eigen:
            hvps = math.floor(min(affordable, probe.max_hvps) * len(kept[name]) + 1e-9)  # type: ignore[union-attr]
            gradients += hvps * _cost_per_point(probe, 1, batch_size)
        points[name] = ProbePoints(steps=tuple(kept[name]), hvps_allowed=hvps)
    thinned = {name: (len(kept[name]), len(asked[name])) for name in asked if len(kept[name]) < len(asked[name])}
    return MeasurementPlan(points, thinned, gradients)
