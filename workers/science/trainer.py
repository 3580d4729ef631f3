"""One pack from its task to its results, chunk by chunk, with a state that can be saved between any two chunks."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from schemas.plugins import PluginModel
from schemas.schedules import CatapultStartWarmup
from schemas.trials import Member, PackTask, TrialResult
from schemas.workloads import Analytic, Workload
from workers.laws import steps_saved, steps_to_peak
from workers.plugins import PluginFailed
from workers.science import tables
from workers.science.datasets import DataArrays
from workers.science.device import prepare
from workers.science.history import NOT_YET, History
from workers.science.outcome import DIVERGED, NO_POSITIVE_SHARPNESS, reason_of_end
from workers.science.probing import READING, PackProbes
from workers.science.problem import build_problem
from workers.science.protocols import ChunkColumns
from workers.science.rates import PackRates
from workers.science.results import trial_result
from workers.science.start_sharpness import start_sharpness
from workers.science.training import Rows, TrainingLoop

STATE_FORMAT = 1


class PackTrainer:
    """Trains the members of `task` together.

    The numbers are a function of the task and the data alone: not of the chunks it is run in, nor of being saved and
    loaded between them.

    Raises:
        ValueError: a task that does not fit its data, or asks for what is not built.
        RuntimeError: the device does not exist here.
    """

    def __init__(self, task: PackTask, data: DataArrays | None, *, device: str = "cpu") -> None:
        self._task = task
        self._members = sorted(task.members, key=lambda member: member.slot)
        self._device = prepare(device)
        self.total_steps = task.total_steps(_num_train(task.workload, data))
        by_slot = {member.slot: member.trial for member in task.members}
        # a slot that no member takes trains nothing, but keeps the pack's shape, on which the bits depend
        trials = [by_slot.get(slot, task.members[0].trial) for slot in range(task.size)]
        if not task.stacked and task.size != 1:
            raise ValueError(f"size: got {task.size}, allowed 1 for a pack that is not stacked")
        self._problem = build_problem(task.workload, trials, data, self._device, stacked=task.stacked)
        is_member = [slot in by_slot for slot in range(task.size)]
        units = start_sharpness(self._problem, trials)
        self._units = {slot: unit for slot, unit in enumerate(units) if unit is not None and is_member[slot]}
        # 0 where there is no unit: that trial never begins
        peaks = [
            trial.peak_lr if unit is None else unit.peak_lr(trial.peak_lr) if unit.is_unit else 0.0
            for trial, unit in zip(trials, units, strict=True)
        ]
        self._peaks = peaks
        self._rates = PackRates(trials, self.total_steps, self._problem.start_NP.dtype, self._device, peaks)
        self._probes = PackProbes(task.probes, task.members, self._problem)
        optimizers = [trial.optimizer for trial in trials]
        without = {slot: NO_POSITIVE_SHARPNESS for slot, unit in self._units.items() if not unit.is_unit}
        begins = [is_in and slot not in without for slot, is_in in enumerate(is_member)]
        self._loop = TrainingLoop(self._problem, optimizers, self._rates, self._probes, begins)
        self._history = History(task.size, without, self._rates.least_start_loss)
        for slot, unit in self._units.items():
            self._history.spend([slot], np.array([unit.num_gradients]), np.array([unit.num_hvps]))
        self._is_analytic = isinstance(task.workload, Analytic)
        self.position = 0
        self.done = False

    def run_chunk(self, max_steps: int | None = None) -> ChunkColumns:
        """Makes at most `max_steps` updates (default: the task's chunk) and returns their rows.

        The chunk that reaches the budget, or after which no member is training any more, also ends the pack.
        """
        assert not self.done
        first = self.position
        last = min(self.total_steps, first + (max_steps or self._task.chunk_steps))
        rows = self._loop.run(first, last)
        self.position = last
        self.done = last == self.total_steps or not rows.alive[-1].any()
        if last == self.total_steps:
            rows = self._with_last_row(rows)
        return self._columns(rows)

    def results(self) -> list[TrialResult]:
        """One per member, in slot order, once the pack is done."""
        assert self.done
        passes = self._rates.per_slot("forward_passes", self._task.size, 0)
        return [
            trial_result(
                member, self._history, self._problem, self.total_steps, passes[member.slot], self._peak_lr(member)
            )
            for member in self._members
        ]

    def _peak_lr(self, member: Member) -> float | None:
        unit = self._units.get(member.slot)
        return None if unit is None else unit.peak_lr(member.trial.peak_lr)

    def state_dict(self) -> dict[str, Any]:
        """The whole state, flat: numpy arrays, and values that JSON holds, by name."""
        tensors = {
            **{f"loop.{name}": tensor for name, tensor in self._loop.state().items()},
            **{f"rates.{name}": tensor for name, tensor in self._rates.state().items()},
            **{f"probes.{name}": tensor for name, tensor in self._probes.state().items()},
        }
        return {
            "format": STATE_FORMAT,
            "pack_id": self._task.pack_id,
            "position": self.position,
            "done": self.done,
            "seconds": dict(self._loop.seconds),
            "probe_seconds": [[name, slot, value] for (name, slot), value in self._probes.seconds.items()],
            # a copy even on the CPU, where the tensors are going to change under it
            **{name: tensor.detach().cpu().clone().numpy() for name, tensor in tensors.items()},
            **{f"history.{name}": value for name, value in self._history.state().items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Puts back what `state_dict` gave, here or in another process.

        Raises:
            ValueError: the state is another pack's, or of another format. PluginFailed: a model of the user's own was
                built with other parameters than those that were saved.
        """
        got, allowed = (state["format"], state["pack_id"]), (STATE_FORMAT, self._task.pack_id)
        if got != allowed:
            raise ValueError(f"state (format, pack_id): got {got}, allowed {allowed}")
        self._check_parameters(np.shape(state["loop.params"]))
        self.position, self.done = int(state["position"]), bool(state["done"])
        self._loop.load_state(self._tensors(state, "loop."))
        self._rates.load_state(self._tensors(state, "rates."))
        self._probes.load_state(self._tensors(state, "probes."))
        self._history.load_state(_under(state, "history."))
        self._loop.seconds = dict(state["seconds"])
        self._probes.seconds = {(name, slot): value for name, slot, value in state["probe_seconds"]}

    def _check_parameters(self, saved: tuple[int, ...]) -> None:
        built = tuple(self._loop.params_NP.shape)
        if built == saved:
            return
        counts = f"got {built[-1]} parameters, allowed {saved[-1]}, as when its checkpoint was made"
        model = getattr(self._task.workload, "model", None)
        if isinstance(model, PluginModel):
            raise PluginFailed(f"model {model.name}: {counts}")
        raise ValueError(f"state: {counts}")

    def _tensors(self, state: Mapping[str, Any], prefix: str) -> dict[str, torch.Tensor]:
        return {name: torch.tensor(value, device=self._device) for name, value in _under(state, prefix).items()}

    def _with_last_row(self, rows: Rows) -> Rows:
        """The rows and what is read at the end of the budget, where no update is made any more."""
        if self._is_analytic:
            rows = rows.followed_by(self._loop.look(self.total_steps))
        rows.readings += self._loop.last_readings(self.total_steps)
        return rows

    def _columns(self, rows: Rows) -> ChunkColumns:
        training_before = self._history.end_step == NOT_YET
        own = self._history.take_rows(rows, self._loop.loss_limit_N.double().cpu().numpy())
        for step, values in rows.evaluations.items():
            self._history.take_evaluation(step, values)
        if rows.first_step == 0 and self._is_analytic:
            self._history.floats["start_loss"] = rows.values["train_loss"][0].copy()
        if self.done and not self._is_analytic:
            self._evaluate_end(rows)
        self._count_probes(rows)
        has_ended_row = self.done and self.position == self.total_steps
        tables_of_chunk = {
            "steps": tables.steps_table(rows, own, self._members),
            "evaluations": tables.evaluations_table(rows.evaluations, self._history.end_step, self._members),
            "probes": tables.probes_table(rows.readings, self._history.end_step, self._members, self._probes),
            "events": tables.events_table(self._events(training_before, is_first=rows.first_step == 0)),
            "timings": tables.timings_table(self._timings() if self.done else {}),
        }
        last_step = self.total_steps if has_ended_row else self.position - 1
        return ChunkColumns(rows.first_step, last_step, tables_of_chunk)

    def _evaluate_end(self, rows: Rows) -> None:
        evaluated, tested = self._loop.final_evaluation()
        self._history.take_final(evaluated, tested)
        if self.position < self.total_steps:
            return
        loss, total = evaluated[0], self._loop.parameter_sums().double().cpu().numpy()
        limit = self._loop.loss_limit_N.double().cpu().numpy()
        for slot in (member.slot for member in self._members):
            reason = reason_of_end(loss[slot], total[slot], limit[slot])
            if self._history.end_step[slot] == NOT_YET and reason in DIVERGED:
                self._history.end(slot, self.total_steps, reason)
        rows.evaluations[self.total_steps] = evaluated
        self._history.take_evaluation(self.total_steps, evaluated)

    def _count_probes(self, rows: Rows) -> None:
        end_step = self._history.end_step
        for reading, values in rows.readings:
            slots = list(reading.slots)
            counts = (end_step[slots] == NOT_YET) | (reading.step < end_step[slots])
            share = self._probes.plans[reading.probe].batches.size / self._problem.batch_size
            spent = dict(zip(READING, values, strict=False))
            self._history.spend(slots, counts * spent["num_gradients"] * share, counts * spent["num_hvps"])

    def _found(self, member: Member, rate: float, passes: int) -> dict[str, float | str]:
        """What a search found; of catapult_start also what it saves against a linear warmup of the same W."""
        found: dict[str, float | str] = {"rate": rate, "forward_passes": passes}
        warmup, peak = member.trial.schedule.warmup, self._peaks[member.slot]
        if isinstance(warmup, CatapultStartWarmup):
            length = warmup.length(self.total_steps)
            found["steps_to_peak"] = steps_to_peak(length, rate, peak)
            found["steps_saved"] = steps_saved(length, rate, peak, passes)
        return found

    def _resolved(self, member: Member) -> dict[str, float | str]:
        unit, unit_of = self._units[member.slot], member.trial.relative_to
        assert unit_of is not None
        return {
            "multiple": member.trial.peak_lr,
            unit_of.quantity: unit.value,
            "lower": unit.lower,
            "upper": unit.upper,
            "peak_lr": unit.peak_lr(member.trial.peak_lr),
            "num_gradients": unit.num_gradients,
            "num_hvps": unit.num_hvps,
        }

    def _events(self, training_before: Any, *, is_first: bool) -> list[tables.Event]:
        history, size = self._history, self._task.size
        searches = self._rates.take_searches()
        warmup_steps = self._rates.per_slot("warmup_steps", size, NOT_YET)
        clamped = self._rates.per_slot("gap_clamped_counted", size, 0)
        events: list[tables.Event] = []
        for member in self._members:
            slot, name = member.slot, member.trial.trial_id
            if is_first and slot in self._units:
                events.append((name, 0, "peak_lr_resolved", self._resolved(member)))
            for _, step, rate, passes in (each for each in searches if each[0] == slot):
                events.append((name, step, "rate_search", self._found(member, rate, passes)))
            if history.counts["warmup_steps"][slot] == NOT_YET and warmup_steps[slot] != NOT_YET:
                history.counts["warmup_steps"][slot] = warmup_steps[slot]
                events.append((name, warmup_steps[slot] - 1, "warmup_ended", {"warmup_steps": warmup_steps[slot]}))
            if not training_before[slot]:
                continue
            has_ended = history.end_step[slot] != NOT_YET
            step = int(history.end_step[slot]) if has_ended else self.total_steps
            if self._loop.bounds is not None and (has_ended or self.done):
                events.append((name, step, "step_bounded", self._loop.bounds.of_slot(slot)))
            if clamped[slot] and (has_ended or self.done):
                events.append((name, step, "gap_clamped", {"times": clamped[slot]}))
            if has_ended:
                kind = "diverged" if history.reasons[slot] in DIVERGED else "stopped"
                last_loss = float(history.floats["last_finite_loss"][slot])
                values: dict[str, float | str] = {"reason": history.reasons[slot], "last_finite_loss": last_loss}
                events.append((name, step, kind, values))
        return events

    def _timings(self) -> dict[tuple[str, str], float]:
        seconds = {}
        for member in self._members:
            name = member.trial.trial_id
            for phase, value in self._loop.seconds.items():
                seconds[(name, phase)] = value / len(self._members)
            for probe in self._probes.plans:
                seconds[(name, f"probe:{probe}")] = self._probes.seconds.get((probe, member.slot), 0.0)
        return seconds


def _num_train(workload: Workload, data: DataArrays | None) -> int:
    if data is None or isinstance(workload, Analytic):
        return 0
    return min(len(data.train_y), getattr(workload.dataset, "subset", None) or len(data.train_y))


def _under(state: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
