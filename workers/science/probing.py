"""When each member is measured, and what its measurements came to: the probes of a pack, driven by the loop."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from schemas.probes import Probe as ProbeSpec
from schemas.trials import Member, ProbePoints
from workers.science.problem import ProbeBatches, Problem
from workers.science.protocols import Probe, ProbeReading, ProbeRequest, State
from workers.science.registry import build_probe

READING = tuple(field.name for field in fields(ProbeReading) if field.name != "points")


@dataclass(frozen=True)
class Reading:
    """What one call of a probe found: `values` [len(READING) + 1, n] in float64 on the device, the last row lr."""

    probe: str
    step: int
    slots: tuple[int, ...]
    values: Tensor
    point: str = ""
    """Which of the points that its probe reads; empty where there is one."""

    @property
    def name(self) -> str:
        """What the row is called."""
        return f"{self.probe}.{self.point}" if self.point else self.probe


class ProbePlan:
    """One probe of a pack: its points by step, its batches, what it remembers and what it may still spend."""

    def __init__(self, probe: Probe, batches: ProbeBatches, members: Sequence[Member], params_NP: Tensor) -> None:
        self.probe = probe
        self.batches = batches
        num_slots, num_parameters = params_NP.shape
        allowed = [0] * num_slots
        # step -> slot -> points of that slot still to come
        points: dict[int, dict[int, int]] = {}
        for member in sorted(members, key=lambda member: member.slot):
            planned = member.probe_points.get(probe.name, ProbePoints(steps=()))
            steps = sorted(set(planned.steps))
            for number, step in enumerate(steps, start=1):
                points.setdefault(step, {})[member.slot] = len(steps) - number
            allowed[member.slot] = planned.hvps_allowed
        self.points_left_at = points
        self.slots_at = {step: tuple(slots) for step, slots in points.items()}
        self.state: State = dict(probe.init(num_slots, num_parameters, params_NP.dtype, params_NP.device))
        self.hvps_left_N = torch.tensor(allowed, dtype=torch.int64, device=params_NP.device)


class PackProbes:
    """All probes of a pack. Called at steps the host knows; reads copies, so nothing it does can reach the training."""

    def __init__(self, specs: Sequence[ProbeSpec], members: Sequence[Member], problem: Problem) -> None:
        self._problem = problem
        self._index: dict[tuple[int, ...], Tensor] = {}
        self.plans: dict[str, ProbePlan] = {}
        for spec in specs:
            probe = build_probe(spec)
            batches = problem.probe_batches(spec)
            self.plans[probe.name] = ProbePlan(probe, batches, members, problem.start_NP)
        self.readings: list[Reading] = []
        self.seconds: dict[tuple[str, int], float] = {}
        """(probe, slot) -> its share of the wall time."""

    def save(self, step: int, params_NP: Tensor) -> dict[str, Tensor]:
        """Copies w_k of the members that a probe measures after this step's update."""
        return {
            plan.probe.name: params_NP.index_select(0, self._index_of(plan.slots_at[step]))
            for plan in self._due(step, needs_next=True)
        }

    def before(self, step: int, params_NP: Tensor, lr_N: Tensor, alive_N: Tensor) -> None:
        """Measures what needs w_k alone."""
        for plan in self._due(step, needs_next=False):
            params_nP = params_NP.index_select(0, self._index_of(plan.slots_at[step]))
            self._measure(plan, step, params_nP, None, lr_N, alive_N)

    def after(
        self,
        step: int,
        saved: Mapping[str, Tensor],
        params_NP: Tensor,
        lr_N: Tensor,
        alive_N: Tensor,
        preconditioner: Callable[[], Tensor | None],
    ) -> None:
        """Measures what needs w_k (`saved`) and w_{k+1}; `preconditioner()` is asked for what a probe needs alone."""
        for plan in self._due(step, needs_next=True):
            index_n = self._index_of(plan.slots_at[step])
            next_params_nP = params_NP.index_select(0, index_n)
            found_NP = preconditioner() if plan.probe.needs_preconditioner else None
            found_nP = None if found_NP is None else found_NP.index_select(0, index_n)
            self._measure(plan, step, saved[plan.probe.name], next_params_nP, lr_N, alive_N, found_nP)

    def state(self) -> State:
        """What the probes remember and may still spend, by name."""
        return {
            f"{name}.{key}": tensor
            for name, plan in self.plans.items()
            for key, tensor in {**{f"state.{k}": t for k, t in plan.state.items()}, "left": plan.hvps_left_N}.items()
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Puts back what `state` gave."""
        for name, plan in self.plans.items():
            plan.state = {key: state[f"{name}.state.{key}"] for key in plan.state}
            plan.hvps_left_N = state[f"{name}.left"]

    def _due(self, step: int, *, needs_next: bool) -> Iterator[ProbePlan]:
        for plan in self.plans.values():
            if plan.probe.needs_next == needs_next and step in plan.slots_at:
                yield plan

    def _index_of(self, slots: tuple[int, ...]) -> Tensor:
        if slots not in self._index:
            self._index[slots] = torch.tensor(slots, device=self._problem.start_NP.device)
        return self._index[slots]

    def _measure(
        self,
        plan: ProbePlan,
        step: int,
        params_nP: Tensor,
        next_params_nP: Tensor | None,
        lr_N: Tensor,
        alive_N: Tensor,
        preconditioner_nP: Tensor | None = None,
    ) -> None:
        began = time.perf_counter()
        slots = plan.slots_at[step]
        index_n = self._index_of(slots)
        request = ProbeRequest(
            objective=self._problem.objective,
            batches=plan.batches.batches,
            params_nP=params_nP,
            next_params_nP=next_params_nP,
            lr_n=lr_N.index_select(0, index_n),
            hvps_left_n=plan.hvps_left_N.index_select(0, index_n),
            points_left_n=torch.tensor(list(plan.points_left_at[step].values()), device=index_n.device),
            alive_n=alive_N.index_select(0, index_n),
            step=step,
            preconditioner_nP=preconditioner_nP,
        )
        theirs = {name: tensor.index_select(0, index_n) for name, tensor in plan.state.items()}
        reading, theirs = plan.probe.measure(request, theirs)
        for name, tensor in theirs.items():
            plan.state[name].index_copy_(0, index_n, tensor)
        plan.hvps_left_N.index_copy_(0, index_n, request.hvps_left_n - reading.num_hvps)
        for point, row in (reading.points or {"": reading}).items():
            columns = [getattr(row, name).to(torch.float64) for name in READING]
            self.readings.append(Reading(plan.probe.name, step, slots, torch.stack([*columns, request.lr_n]), point))
        share = (time.perf_counter() - began) / len(slots)
        for slot in slots:
            key = (plan.probe.name, slot)
            self.seconds[key] = self.seconds.get(key, 0.0) + share
