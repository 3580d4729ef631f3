"""Steps, evaluations and probe points are told apart, and what they cost together is what the pack costs."""

from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from schemas.study import parse_study
from schemas.trials import PackTask
from tests.e2e.specs import digits
from workers.cluster import calibration
from workers.cluster.calibration import STRETCHES, measure, task_of
from workers.data import scan
from workers.planning import MeasurementPlan, expand_trials, gradients_per_step, measurement_plans, plan_packs
from workers.planning.calibration import SPREAD
from workers.planning.measurement import measurement_key
from workers.planning.packs import PackPlan

START_S, STEP_S, EVALUATION_S = 0.5, 0.001, 0.01
PROBE_S = {"secant_smoothness": 0.02, "sharpness": 0.08}
STEPS, EVERY = 400, 80


class Machine:
    """A device on which everything takes a known time; the first of everything takes three times as long."""

    def __init__(self) -> None:
        self.now = 100.0

    def trainer(self, task: PackTask, arrays: Any, *, device: str) -> "FakeTrainer":
        self.now += START_S
        return FakeTrainer(self, task)


class FakeTrainer:
    """PackTrainer, as far as a calibration uses it."""

    def __init__(self, machine: Machine, task: PackTask) -> None:
        self._machine, self._task = machine, task
        self._seconds = {"train": 0.0, "evaluate": 0.0}
        self._probe_s: dict[tuple[str, int], float] = {}
        self.position, self.done = 0, False

    def run_chunk(self, max_steps: int) -> None:
        for step in range(self.position, min(STEPS, self.position + max_steps)):
            cold = 3.0 if step == 0 else 1.0
            self._machine.now += cold * STEP_S
            if step % self._task.workload.evaluation.every_steps == 0:  # type: ignore[union-attr]
                self._machine.now += cold * EVALUATION_S
                self._seconds["evaluate"] += cold * EVALUATION_S
            for name, seconds in PROBE_S.items():
                slots = [m.slot for m in self._task.members if step in m.probe_points.get(name, _NONE).steps]
                self._machine.now += cold * seconds * bool(slots)
                for slot in slots:
                    self._probe_s[name, slot] = self._probe_s.get((name, slot), 0.0) + cold * seconds / len(slots)
            self.position = step + 1
        self.done = self.position == STEPS

    def state_dict(self) -> Mapping[str, Any]:
        return {
            "seconds": dict(self._seconds),
            "probe_seconds": [[name, slot, value] for (name, slot), value in self._probe_s.items()],
        }


_NONE = SimpleNamespace(steps=())


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    clock = SimpleNamespace(perf_counter=lambda: machine.now, monotonic=lambda: machine.now)
    monkeypatch.setattr(calibration, "time", clock)
    monkeypatch.setattr("workers.science.trainer.PackTrainer", machine.trainer)
    return machine


def planned(probes: bool = True) -> tuple[PackTask, PackPlan, list[MeasurementPlan]]:
    document = digits(STEPS)
    document["optimizers"] = document["optimizers"][:1]
    document["probes"] = document["probes"] if probes else []
    study, datasets = parse_study(document), {facts.kind: facts for facts in scan(None)}
    trials = expand_trials(study, datasets)
    (pack,) = plan_packs(trials, datasets, device_class="cpu")
    plans = measurement_plans(trials, study.fields, datasets)
    task = task_of(pack, trials, plans, study.fields.probes, "cpu")
    return task, pack, [plans[measurement_key(trial)] for trial in trials]


def test_what_is_measured_adds_up_to_what_the_whole_pack_costs(machine: Machine) -> None:
    task, pack, plans = planned()
    found = measure(task, pack, plans, None, budget_s=1000.0)
    points = {name: len(plans[0].points[name].steps) for name in PROBE_S}
    truth = START_S + STEPS * STEP_S + (STEPS // EVERY + 2) * EVALUATION_S
    truth += sum(points[name] * PROBE_S[name] for name in PROBE_S)
    low, high = found.seconds(STEPS, gradients_per_step(plans, STEPS), (1.0, 4.0))
    assert low / SPREAD[0] == pytest.approx(truth, rel=1e-6)
    assert high / SPREAD[1] == pytest.approx(truth, rel=1e-6)
    assert (found.group_key, found.size) == (pack.group_key, pack.size)


def test_without_probes_none_is_measured(machine: Machine) -> None:
    found = measure(*planned(probes=False), None, budget_s=1000.0)
    assert found.gradient_s is None
    assert found.step_s == pytest.approx((STEP_S + EVALUATION_S / EVERY,) * 2)


def test_a_machine_that_is_slow_is_measured_by_few_steps(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "STEP_S", 10.0)
    began = machine.now
    found = measure(*planned(probes=False), None, budget_s=2.0)
    assert machine.now - began < 10 * 10.0
    assert found.step_s[0] == pytest.approx(10.0, rel=0.01)


def test_each_stretch_has_one_evaluation_and_one_point_of_each_probe() -> None:
    task, _, _ = planned()
    short = calibration._stretched(task, 7)
    assert short.workload.evaluation.every_steps == 7  # type: ignore[union-attr]
    for before, after in zip(task.members, short.members, strict=True):
        for name, points in after.probe_points.items():
            assert points.steps == tuple(7 * number for number in range(STRETCHES))
            was = before.probe_points[name]
            assert points.hvps_allowed >= was.hvps_allowed / len(was.steps) * STRETCHES
    assert task.members == planned()[0].members


@pytest.mark.slow
def test_a_real_pack_is_measured_in_a_moment_and_its_trials_are_left_as_they_are() -> None:
    task, pack, plans = planned()
    small = replace(task, size=8)
    ids = [member.trial.trial_id for member in small.members]
    found = measure(small, pack, plans, None, budget_s=0.5)
    assert 0 < found.step_s[0] <= found.step_s[1]
    assert found.gradient_s is not None
    assert found.gradient_s > 0
    assert [member.trial.trial_id for member in small.members] == ids
