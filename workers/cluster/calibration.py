"""`python -m workers.cluster.calibration`: what a few steps and a probe point of each kind of pack cost on this device.

Reads one JSON object: `spec`, `datasets` (facts), `data` (folder), `own` (parts of the user's own, as they were found),
`plugins` (files), `device_class`, `budget_s`. Writes two lines of JSON
for each kind of pack: `{"begins": ...}`, then the calibration. Trains nothing that is kept.
"""

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from schemas.catalog import DatasetFacts
from schemas.own_parts import OwnParts
from schemas.plugins import PluginModel
from schemas.study import parse_study
from schemas.trials import Member, PackTask, ProbePoints, TrialSpec
from schemas.workloads import Analytic, Evaluation
from workers.cluster.facts import TRAINER_ENVIRONMENT
from workers.planning import MeasurementPlan, expand_trials, gradients_per_step, measurement_plans, plan_packs
from workers.planning.calibration import Calibration
from workers.planning.measurement import Key, measurement_key
from workers.planning.packs import PackPlan
from workers.plugins import use_files

STRETCHES = 5
"""Into so many the measured steps are cut at most: the first is warm-up, the others say how far times spread."""
MOST_OF_A_GROUP_S = 5.0
FIRST_STEPS = 2


def main() -> int:
    """Exit status 0: every kind that the budget allowed was measured."""
    os.environ.update(TRAINER_ENVIRONMENT)  # before torch is imported
    import torch

    torch.set_num_threads(1)
    asked = json.load(sys.stdin)
    sys.stdout = sys.stderr  # what a user's own code prints is no answer
    use_files(asked["plugins"])
    own = OwnParts.from_json(asked["own"])
    study = parse_study(asked["spec"])
    datasets = {kind: DatasetFacts.model_validate(facts) for kind, facts in asked["datasets"].items()}
    trials = expand_trials(study, datasets, own=own)
    plans = measurement_plans(trials, study.fields, datasets)
    packs = plan_packs(trials, datasets, own=own, device_class=asked["device_class"])
    # The fullest pack of each kind stands for all of them.
    groups = {pack.group_key: pack for pack in sorted(packs, key=lambda pack: len(pack.trial_ids))}
    by_id = {trial.trial_id: trial for trial in trials}
    deadline = time.monotonic() + asked["budget_s"]
    for number, pack in enumerate(groups.values()):
        share_s = (deadline - time.monotonic()) / (len(groups) - number)
        if share_s <= 0:
            break
        members = [by_id[trial_id] for trial_id in pack.trial_ids]
        _say({"begins": pack.group_key, "name": " ".join(members[0].names[:2]), "number": number, "of": len(groups)})
        task = task_of(pack, members, plans, study.fields.probes, asked["device_class"])
        data = Path(asked["data"]) if asked["data"] else None
        _say(measure(task, pack, [plans[measurement_key(trial)] for trial in members], data, share_s).to_json())
    return 0


def task_of(
    pack: PackPlan, members: Sequence[TrialSpec], plans: Mapping[Key, MeasurementPlan], probes: Any, device_class: str
) -> PackTask:
    """The task of a pack that nobody planned: with all its probe points, not to be trained to its end."""
    return PackTask(
        pack_id=pack.pack_id,
        size=pack.size,
        members=tuple(Member(slot, trial, plans[measurement_key(trial)].points) for slot, trial in enumerate(members)),
        probes=probes,
        chunk_steps=pack.chunk_steps,
        device="cpu" if device_class == "cpu" else "cuda",
        stacked=not pack.unstacked,
    )


def measure(
    task: PackTask, pack: PackPlan, plans: Sequence[MeasurementPlan], data_dir: Path | None, budget_s: float
) -> Calibration:
    """Time some steps, evaluations and probe points of a pack for about `budget_s` at most, and two steps at least."""
    from workers.cluster.pack_runner import _arrays
    from workers.science.trainer import PackTrainer

    arrays = _arrays(task, data_dir)
    deadline = time.monotonic() + min(budget_s, MOST_OF_A_GROUP_S)
    first = PackTrainer(_stretched(task, pack.total_steps), arrays, device=task.device)
    cold_s = -time.perf_counter()
    first.run_chunk(min(FIRST_STEPS, pack.total_steps))
    cold_s += time.perf_counter()
    left_s = max(0.0, deadline - time.monotonic())
    # The cold steps are slower than the others: as many again as fit into half of what is left will do.
    stretch = max(1, min(int(left_s / 2 / STRETCHES / (cold_s / FIRST_STEPS)), pack.total_steps // STRETCHES, 200))
    del first
    began = time.perf_counter()
    trainer = PackTrainer(_stretched(task, stretch), arrays, device=task.device)
    clock = _Clock(trainer, time.perf_counter() - began)
    while not trainer.done and len(clock.stretches) < STRETCHES:
        clock.run(stretch)
        if time.monotonic() >= deadline and len(clock.stretches) > 1:
            break
    found = _calibration(task, pack, plans, clock)
    # the table's sizes of the other models were measured
    is_default = isinstance(getattr(task.workload, "model", None), PluginModel) and task.stacked and task.size > 1
    if not is_default:
        return found
    packed_s = min(each[0] for each in clock.stretches[1:] or clock.stretches)
    return replace(found, times_faster=_step_alone_s(task, arrays, stretch) * task.size / packed_s)


def _step_alone_s(task: PackTask, arrays: Any, stretch: int) -> float:
    from workers.science.trainer import PackTrainer

    alone = replace(_stretched(task, stretch), size=1, members=(replace(task.members[0], slot=0),))
    clock = _Clock(PackTrainer(alone, arrays, device=task.device), 0.0)
    for _ in range(2):  # the first is warm-up
        if not clock.is_done:
            clock.run(stretch)
    return clock.stretches[-1][0]


class _Clock:
    """Runs a trainer stretch by stretch, and tells apart what took the time."""

    def __init__(self, trainer: Any, start_s: float) -> None:
        self._trainer = trainer
        self.start_s = start_s
        self.stretches: list[tuple[float, float, dict[str, float]]] = []
        """Seconds per step, of the evaluation, and of each probe's point, by name."""
        self._evaluate_s = 0.0
        self._probe_s: dict[str, float] = {}

    @property
    def is_done(self) -> bool:
        return bool(self._trainer.done)

    def run(self, num_steps: int) -> None:
        before, began = self._trainer.position, time.perf_counter()
        self._trainer.run_chunk(num_steps)
        total_s = time.perf_counter() - began
        state = self._trainer.state_dict()
        probe_s: dict[str, float] = {}
        for name, _, value in state["probe_seconds"]:
            probe_s[name] = probe_s.get(name, 0.0) + value
        evaluate_s = state["seconds"]["evaluate"]
        points_s = {name: value - self._probe_s.get(name, 0.0) for name, value in probe_s.items()}
        steps_s = total_s - (evaluate_s - self._evaluate_s) - sum(points_s.values())
        num_made = self._trainer.position - before
        self.stretches.append((max(steps_s, 0.0) / num_made, evaluate_s - self._evaluate_s, points_s))
        self._evaluate_s, self._probe_s = evaluate_s, probe_s


def _stretched(task: PackTask, stretch: int) -> PackTask:
    """The task with one evaluation, and one point of each probe, at the beginning of each stretch."""
    workload = task.workload
    if not isinstance(workload, Analytic):
        workload = workload.model_copy(update={"evaluation": Evaluation(every_steps=stretch)})
    steps = tuple(range(0, stretch * STRETCHES, stretch))
    members = tuple(
        Member(
            member.slot,
            replace(member.trial, workload=workload),
            {name: _as_many(points, steps) for name, points in member.probe_points.items() if points.steps},
        )
        for member in task.members
    )
    return replace(task, members=members)


def _as_many(points: ProbePoints, steps: tuple[int, ...]) -> ProbePoints:
    """Points at other steps that may each spend what the planned ones may."""
    hvps = -(-points.hvps_allowed * len(steps) // len(points.steps))
    return ProbePoints(steps=steps, hvps_allowed=hvps)


def _calibration(task: PackTask, pack: PackPlan, plans: Sequence[MeasurementPlan], clock: _Clock) -> Calibration:
    warm = clock.stretches[1:] or clock.stretches
    evaluate_s = max(each[1] for each in warm)
    workload = task.workload
    share_s = 0.0 if isinstance(workload, Analytic) else evaluate_s / workload.evaluation.every_steps
    steps_s = [each[0] for each in warm]
    return Calibration(
        group_key=pack.group_key,
        size=pack.size,
        start_s=clock.start_s + 2 * evaluate_s,
        step_s=(min(steps_s) + share_s, max(steps_s) + share_s),
        gradient_s=_gradient_s(pack, plans, [each[2] for each in warm]),
    )


def _gradient_s(
    pack: PackPlan, plans: Sequence[MeasurementPlan], points_s: Sequence[Mapping[str, float]]
) -> float | None:
    """The seconds of all planned points, shared out over the gradient equivalents that they are planned with."""
    gradients = (gradients_per_step(plans, pack.total_steps) - 1.0) * pack.total_steps
    if gradients <= 0:
        return None
    seconds = 0.0
    for name in plans[0].points:
        mean_points = sum(len(plan.points[name].steps) for plan in plans) / len(plans)
        seconds += mean_points * sum(each.get(name, 0.0) for each in points_s) / len(points_s)
    return seconds / gradients


def _say(what: dict[str, Any]) -> None:
    assert sys.__stdout__ is not None
    sys.__stdout__.write(json.dumps(what) + "\n")
    sys.__stdout__.flush()


if __name__ == "__main__":
    status = main()
    os._exit(status)  # torch takes its time to say goodbye
