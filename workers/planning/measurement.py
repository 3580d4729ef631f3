"""At which steps each probe of each trial is taken, and what it may spend: the probe budget, kept."""

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from schemas.base import MAX_INT
from schemas.catalog import DatasetFacts, dataset_facts, num_train_examples
from schemas.learning_rates import START_BATCHES
from schemas.probes import Probe, probe_steps
from schemas.study import StudyFields, probe_name
from schemas.trials import ProbePoints, TrialSpec, batch_size_of, total_steps
from schemas.workloads import Analytic

GRADIENTS_PER_HVP = 2
"""design/contracts.md, Probes: one HVP counts as two gradients."""
NOMINAL_HVPS = 8
"""Hessian-vector products per batch that a point is planned with: on the digits MLP a warm start converges within 7."""
FIRST_POINT_EXTRA_HVPS = 4
"""A trial's first point has no vector to start from: 10 to 12 there."""
START_GRADIENTS, START_HVPS = 1, 16
"""Per batch, about: what a rate in units of 1/sharpness takes once, at a start to 0.1 %."""
FEWEST_POINTS = 2
"""One eigenvalue says nothing about how it moves: from here on secant points give way, too."""


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
    """What the points of one probe cost, and how many any trial can ask for."""

    num_batches: int
    batch_gradients: float
    """One gradient of one probe batch, in training-batch gradients: a batch twice as large costs twice as much."""
    fixed_gradients: int
    """Gradients of one batch at a point."""
    fixed_hvps: int
    """HVPs of one batch at a point, where it always makes as many."""
    takes_hvps: bool
    """Whether it makes as many as it takes to converge."""
    max_hvps: int
    num_regular: int
    num_during_warmup: int

    @property
    def nominal_hvps(self) -> int:
        """Per batch of a point."""
        return min(NOMINAL_HVPS, self.max_hvps)

    @property
    def first_extra_hvps(self) -> int:
        """Per batch of a trial's first point, on top."""
        return min(FIRST_POINT_EXTRA_HVPS, self.max_hvps - self.nominal_hvps)

    @property
    def hvp_gradients(self) -> float:
        """One HVP on every batch, in training-batch gradients."""
        return GRADIENTS_PER_HVP * self.num_batches * self.batch_gradients

    def fixed(self, count: int) -> float:
        """`count` points without HVPs, in training-batch gradients."""
        return count * self.num_batches * self.batch_gradients * self.fixed_gradients

    def nominal(self, count: int) -> float:
        """`count` points at the nominal effort, in training-batch gradients."""
        hvps = count * (self.nominal_hvps + self.fixed_hvps) + self.first_extra_hvps if count else 0
        return self.fixed(count) + hvps * self.hvp_gradients

    def most(self, stride: int | None) -> int:
        """Points of any trial, at most, where every `stride`-th of the regular and of the warmup's is kept."""
        if stride is None:
            return 0
        return math.ceil(self.num_regular / stride) + max(0, math.ceil(self.num_during_warmup / stride) - 1)


@dataclass(frozen=True)
class _Strides:
    """Every m-th point is kept of the eigenvalue probes, and of the others (`secant`); None: no point."""

    eigenvalue: int | None
    secant: int | None

    def of(self, cost: _Cost) -> int | None:
        """The stride of a probe."""
        return self.eigenvalue if cost.takes_hvps else self.secant


Key = tuple[int, int | None]
"""Trials of one study with equal keys measure alike: (identity of the workload, warmup steps)."""


def start_cost(trial: TrialSpec) -> tuple[int, int]:
    """(gradients, HVPs), about, that the start of a trial takes whose peak learning rate is stated as a multiple."""
    if trial.relative_to is None:
        return 0, 0
    is_one = isinstance(trial.workload, Analytic) or trial.workload.batch_size == "full"
    batches = 1 if is_one else START_BATCHES
    return batches * START_GRADIENTS, batches * START_HVPS


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
        train_batch = batch_size_of(workload, num_train_examples(workload, facts))
        per_batch = None if isinstance(workload, Analytic) else train_batch
        costs = {probe_name(probe): _cost(probe, per_batch, steps) for probe in fields.probes}
        budget = fields.probe_budget * steps
        strides = _thinning(costs, budget)
        slack = _slack_hvps(costs, strides, budget)
        for key, trial in keys.items():
            if key[0] == id(workload):
                plans[key] = _plan(trial, fields.probes, steps, costs, strides, slack)
    return plans


def measurement_key(trial: TrialSpec) -> Key:
    """What decides a trial's probe points."""
    # lengths are in steps by now; that of an asymptotic warmup is not cut short where the run is long without end
    return (id(trial.workload), trial.schedule.warmup_steps(MAX_INT))


def most_points(probe: Probe, total: int) -> int:
    """How many points any trial can ask for: the regular ones, and those of a warmup between (its first is step 0)."""
    return math.ceil(total / probe.every_steps) + max(0, probe.during_warmup - 1)


def _cost(probe: Probe, train_batch: int | None, total: int) -> _Cost:
    """Args: train_batch: examples per training batch; None for an analytic function, which has no batches."""
    return _Cost(
        num_batches=probe.batch.count if train_batch is not None else 1,
        batch_gradients=(probe.batch.size or train_batch) / train_batch if train_batch is not None else 1.0,
        fixed_gradients=probe.gradients_per_batch,
        fixed_hvps=probe.hvps_per_batch,
        takes_hvps=probe.is_iterative,
        max_hvps=getattr(probe, "max_hvps", 0),
        num_regular=math.ceil(total / probe.every_steps),
        num_during_warmup=probe.during_warmup,
    )


def _thinning(costs: Mapping[str, _Cost], budget: float) -> _Strides:
    """The first of these that fits the budget at the nominal effort: an eigenvalue point that cannot converge is waste.

    Eigenvalue points are thinned first, down to FEWEST_POINTS; then secant points, down to as many; then the eigenvalue
    ones to a single point; then they are given up. Counted for the most points that any schedule could ask for, so that
    all schedules are thinned alike.
    """
    eigenvalue = [cost for cost in costs.values() if cost.takes_hvps]
    secant = [cost for cost in costs.values() if not cost.takes_hvps]
    few, one = _largest_stride(eigenvalue, FEWEST_POINTS), _largest_stride(eigenvalue, 1)
    few_secant, one_secant = _largest_stride(secant, FEWEST_POINTS), _largest_stride(secant, 1)
    stages: list[tuple[range, Callable[[int], _Strides]]] = [
        (range(1, few + 1), lambda stride: _Strides(stride, 1)),
        (range(1, few_secant + 1), lambda stride: _Strides(few, stride)),
        (range(few, one + 1), lambda stride: _Strides(stride, few_secant)),
        (range(1, one_secant + 1), lambda stride: _Strides(None, stride)),
    ]

    def fits(strides: _Strides) -> bool:
        cost = sum(cost.nominal(cost.most(strides.of(cost))) for cost in costs.values())
        return cost <= budget * (1 + 1e-12)

    for values, at in stages:
        first = bisect_left(values, True, key=lambda stride: fits(at(stride)))
        if first < len(values):
            return at(values[first])
    return _Strides(None, None)


def _largest_stride(costs: Sequence[_Cost], points: int) -> int:
    """The largest that leaves every probe `points` points, or all where it asks for fewer."""
    end = max((max(cost.num_regular, cost.num_during_warmup) for cost in costs), default=1)

    def too_large(stride: int) -> bool:
        return any(cost.most(stride) < min(points, cost.most(1)) for cost in costs)

    return max(1, bisect_left(range(1, end + 1), True, key=too_large))


def _slack_hvps(costs: Mapping[str, _Cost], strides: _Strides, budget: float) -> float:
    """HVPs per batch on top of the nominal ones: what is left of the budget in the dearest case, shared out evenly."""
    counts = {name: cost.most(strides.of(cost)) for name, cost in costs.items()}
    left = budget - sum(cost.nominal(counts[name]) for name, cost in costs.items())
    per_hvp = sum(counts[name] * cost.hvp_gradients for name, cost in costs.items() if cost.takes_hvps)
    return max(0.0, left / per_hvp) if per_hvp else 0.0


def _plan(
    trial: TrialSpec,
    probes: Sequence[Probe],
    total: int,
    costs: Mapping[str, _Cost],
    strides: _Strides,
    slack_hvps: float,
) -> MeasurementPlan:
    warmup_steps = trial.schedule.warmup_steps(total) or 0
    points, thinned, fixed, of_hvps = {}, {}, 0.0, 0.0
    for probe in probes:
        name = probe_name(probe)
        cost = costs[name]
        cadence = (probe.every_steps, probe.during_warmup, total, warmup_steps)
        asked, stride = len(probe_steps(*cadence)), strides.of(cost)
        kept = [] if stride is None else probe_steps(*cadence, stride=stride)
        hvps = _hvps_allowed(cost, len(kept), slack_hvps)
        fixed += cost.fixed(len(kept))
        of_hvps += hvps * GRADIENTS_PER_HVP * cost.batch_gradients
        points[name] = ProbePoints(steps=tuple(kept), hvps_allowed=hvps)
        if len(kept) < asked:
            thinned[name] = (len(kept), asked)
    return MeasurementPlan(points, thinned, fixed + of_hvps, of_hvps)


def _hvps_allowed(cost: _Cost, count: int, slack_hvps: float) -> int:
    if not (count and cost.takes_hvps):
        return count * cost.fixed_hvps * cost.num_batches
    per_batch = count * (cost.nominal_hvps + slack_hvps) + cost.first_extra_hvps
    return math.floor(min(per_batch, count * cost.max_hvps) * cost.num_batches * (1 + 1e-12))
