"""The learning rate of every trial at every step: known before the run, or found by a closed loop while it trains."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from schemas.schedules import ClosedLoopWarmup, Decay, GivenOptimum, ReplayWarmup
from schemas.trials import TrialSpec
from workers.schedules import factors
from workers.schedules.progress import Progress
from workers.schedules.registry import DECAYS
from workers.science.protocols import Evaluate, State
from workers.science.registry import build_rule

NEVER = -1
NO_LIMIT = 2**62
OPTIMUM_ROUNDING = 1e-6
"""So far, relatively, a given optimum may lie above the loss at the start: a start at the optimum has such a loss."""


@dataclass(frozen=True)
class UpdateRow:
    """What is known before an update is made."""

    loss_N: Tensor
    alive_N: Tensor
    params_NP: Tensor
    grads_NP: Tensor
    loss_after: Callable[[Tensor, Tensor], Tensor]
    """(rates [N], slots [n]) -> losses [n] of this step's batch after an update at these rates, taken back."""
    loss_at: Callable[[Tensor, Tensor], Tensor]
    """(parameters [n, P], slots [n]) -> losses [n] of this step's batch."""


class OpenLoopRates:
    """peak_lr x factor(k) for the slots whose schedule is known before the run; 0 for the others."""

    def __init__(
        self, trials: Sequence[TrialSpec], peaks: Sequence[float], total_steps: int, device: torch.device
    ) -> None:
        self._device = device
        curves = {trial.schedule: np.empty(0) for trial in trials}
        self._replayed = {
            slot: np.array(trial.schedule.warmup.rates) * (peaks[slot] / trial.schedule.warmup.peak_lr)
            for slot, trial in enumerate(trials)
            if isinstance(trial.schedule.warmup, ReplayWarmup)
        }
        for schedule in curves:
            is_closed_loop = isinstance(schedule.warmup, ClosedLoopWarmup)
            curves[schedule] = np.zeros(total_steps) if is_closed_loop else factors(schedule, total_steps)
        self._curves = [(peak, curves[trial.schedule]) for peak, trial in zip(peaks, trials, strict=True)]

    def steps(self, first: int, last: int) -> Iterator[Tensor]:
        """[N] in float64 for each of the steps first ... last - 1; they go to the device at once."""
        rates_TN = np.stack([peak * curve[first:last] for peak, curve in self._curves], axis=1)
        for slot, rates in self._replayed.items():  # a factor and its peak would come to another last digit
            here = rates[first:last]
            rates_TN[: len(here), slot] = here
        yield from torch.tensor(rates_TN, dtype=torch.float64, device=self._device).unbind()


class ClosedLoop:
    """The slots that share one closed-loop warmup and one decay.

    While the warmup lasts the rate is min(peak_lr, rule). It ends with the update k whose rate first equals peak_lr, or
    with update max_steps - 1, whichever comes first, and then has been k + 1 updates long. From there on the rate is
    that of an open loop whose warmup had this length: peak_lr x decay. Without `latch` the rule goes on to cap it.
    """

    def __init__(
        self,
        warmup: ClosedLoopWarmup,
        decay: Decay,
        slots: Sequence[int],
        peaks: Sequence[float],
        total_steps: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.slots = list(slots)
        self._warmup = warmup
        self._decay = decay.resolved(total_steps)
        self._rule = build_rule(warmup)
        self._total_steps = total_steps
        self._max_steps = warmup.max_steps or NO_LIMIT
        self._index_n = torch.tensor(self.slots, device=device)
        self._peak_n = torch.tensor(peaks, dtype=torch.float64, device=device)
        n = len(self.slots)
        self.state: State = {
            "warmup_steps": torch.full((n,), NEVER, dtype=torch.int64, device=device),
            "gap_clamped_counted": torch.zeros(n, dtype=torch.int64, device=device),
            "forward_passes": torch.zeros(n, dtype=torch.int64, device=device),
        }
        self._own_names = tuple(self.state)
        self.searches: list[tuple[int, int, float, int]] = []
        """(slot, step, rate found, forward passes) since they were last taken."""
        self.state.update({f"rule.{name}": tensor for name, tensor in self._rule.init(n, dtype, device).items()})

    def apply(self, step: int, row: "UpdateRow", lr_N: Tensor) -> None:
        """Writes the rates of update `step` into `lr_N`."""
        alive_n = row.alive_N.index_select(0, self._index_n)
        rate_n = self._ask(step, row, alive_n, lr_N)
        capped_n = torch.minimum(rate_n, self._peak_n)
        ends_now_n = (capped_n >= self._peak_n) | (step + 1 >= self._max_steps)
        ends_now_n &= alive_n & (self.state["warmup_steps"] == NEVER)
        warmup_steps_n = self.state["warmup_steps"].masked_fill_(ends_now_n, step + 1)
        decayed_n = self._peak_n * self._decay_factor(step, warmup_steps_n)
        if not self._warmup.latch:
            decayed_n = torch.minimum(decayed_n, rate_n)
        lr_N.index_copy_(0, self._index_n, torch.where(warmup_steps_n == NEVER, capped_n, decayed_n))

    def _ask(self, step: int, row: "UpdateRow", alive_n: Tensor, lr_N: Tensor) -> Tensor:
        def after(rate_n: Tensor, asking_n: Tensor) -> Tensor:
            self.state["forward_passes"] += asking_n
            return row.loss_after(lr_N.index_copy(0, self._index_n, rate_n), self._index_n)

        def at(params_nP: Tensor, asking_n: Tensor) -> Tensor:
            self.state["forward_passes"] += asking_n
            return row.loss_at(params_nP, self._index_n)

        remembered = {
            name.removeprefix("rule."): tensor for name, tensor in self.state.items() if name not in self._own_names
        }
        loss_n = row.loss_N.index_select(0, self._index_n)
        observation = {"loss": loss_n, "peak_lr": self._peak_n, "alive": alive_n}
        if self._rule.needs_gradient_norm:
            grads_nP = row.grads_NP.index_select(0, self._index_n)
            observation["gradient_norm"] = torch.linalg.vector_norm(grads_nP, dim=1, dtype=torch.float64)
        if self._rule.needs_params:
            observation["params"] = row.params_NP.index_select(0, self._index_n)
        rate_n, remembered = self._rule.next(remembered, observation, Evaluate(after, at))
        self.searches += [(self.slots[n], step, rate, passes) for n, rate, passes in self._rule.searches]
        self._rule.searches.clear()
        self.state.update({f"rule.{name}": tensor for name, tensor in remembered.items()})
        if "gap_clamped" in remembered:
            counted_n = self.state["gap_clamped_counted"]
            self.state["gap_clamped_counted"] = torch.where(alive_n, remembered["gap_clamped"], counted_n)
        return rate_n.to(torch.float64)

    def _decay_factor(self, step: int, warmup_steps_n: Tensor) -> Tensor:
        # workers.schedules.decay_factors at a warmup length that only the device knows
        start_n = warmup_steps_n.clamp(min=1).to(torch.float64)
        at = Progress(
            xp=torch,
            since_peak=(step - start_n + 1).clamp(min=0.0),
            length=self._total_steps - start_n + 1,
            peak=start_n,
            spare=1,
        )
        decayed_n: Tensor = DECAYS[self._decay.kind](self._decay, at)
        return decayed_n


class PackRates:
    """The rates of a pack; what the closed loops remember is `state`."""

    def __init__(
        self,
        trials: Sequence[TrialSpec],
        total_steps: int,
        dtype: torch.dtype,
        device: torch.device,
        peaks: Sequence[float] | None = None,
    ) -> None:
        """`peaks`: the rates, where trials state multiples; by default what they state."""
        peaks = [trial.peak_lr for trial in trials] if peaks is None else peaks
        self._open = OpenLoopRates(trials, peaks, total_steps, device)
        self.least_start_loss = {
            slot: least for slot, trial in enumerate(trials) if (least := least_start_loss(trial)) is not None
        }
        """Slot -> the loss below which it cannot begin: the optimum that its closed loop was given is none."""
        groups: dict[tuple[ClosedLoopWarmup, Decay], list[int]] = {}
        for slot, trial in enumerate(trials):
            if isinstance(trial.schedule.warmup, ClosedLoopWarmup):
                groups.setdefault((trial.schedule.warmup, trial.schedule.decay), []).append(slot)
        self.loops = [
            ClosedLoop(warmup, decay, slots, [peaks[slot] for slot in slots], total_steps, dtype, device)
            for (warmup, decay), slots in groups.items()
        ]

    def steps(self, first: int, last: int) -> Iterator[Tensor]:
        """[N] in float64 for each step: what the open loops say, to be handed to `close`."""
        return self._open.steps(first, last)

    def close(self, step: int, row: UpdateRow, lr_N: Tensor) -> None:
        """Lets the closed loops write their rates of update `step` into `lr_N`."""
        for loop in self.loops:
            loop.apply(step, row, lr_N)

    def take_searches(self) -> list[tuple[int, int, float, int]]:
        """(slot, step, rate found, forward passes) of the searches since the last call."""
        found = [search for loop in self.loops for search in loop.searches]
        for loop in self.loops:
            loop.searches.clear()
        return found

    def state(self) -> State:
        """What the closed loops remember, by name."""
        return {f"{i}.{name}": tensor for i, loop in enumerate(self.loops) for name, tensor in loop.state.items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Puts back what `state` gave."""
        for i, loop in enumerate(self.loops):
            loop.state = {name: state[f"{i}.{name}"] for name in loop.state}

    def per_slot(self, name: str, num_slots: int, default: int) -> list[int]:
        """An integer of the closed loops' state by slot, on the host; `default` for the open loops."""
        values = [default] * num_slots
        for loop in self.loops:
            for slot, value in zip(loop.slots, loop.state[name].tolist(), strict=True):
                values[slot] = value
        return values


def least_start_loss(trial: TrialSpec) -> float | None:
    """The optimum that the trial's closed loop is given, rounding left out; None where it is given none."""
    optimum = getattr(trial.schedule.warmup, "optimum", None)
    if not isinstance(optimum, GivenOptimum):
        return None
    return optimum.value - OPTIMUM_ROUNDING * abs(optimum.value)
