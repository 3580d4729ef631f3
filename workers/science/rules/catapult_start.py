"""A linear warmup that begins where the first update would just raise the loss, instead of at 0."""

import torch
from torch import Tensor

from schemas.schedules import CatapultStartWarmup, Optimum
from workers.science.protocols import Evaluate, Observation, Search, State
from workers.science.rules.catapult_search import catapult_rate


class CatapultStartRule:
    """rate = eta_c + peak_lr (k + 1) / W, eta_c found before the first update.

    Cost: the search's forward passes, once; the host waits for the device during it.
    """

    optimum: Optimum | None = None
    needs_gradient_norm = False
    needs_params = False

    def __init__(self, spec: CatapultStartWarmup) -> None:
        assert spec.steps is not None, "resolved with the run's steps"
        self._spec, self._length = spec, spec.steps
        self._has_searched = False
        self.searches: list[Search] = []

    def init(self, n: int, dtype: torch.dtype, device: torch.device) -> State:
        """The rate found, NaN before, and the updates since."""
        return {
            "steps": torch.zeros(n, dtype=torch.int64, device=device),
            "catapult_rate": torch.full((n,), torch.nan, dtype=torch.float64, device=device),
        }

    def next(self, state: State, observation: Observation, evaluate: Evaluate) -> tuple[Tensor, State]:
        """The rates [n] in float64."""
        peak_n, found_n = observation["peak_lr"], state["catapult_rate"]
        if not self._has_searched:
            self._has_searched = True
            found_n = self._search(state, observation, evaluate)
        rate_n = found_n + peak_n * ((state["steps"] + 1).to(torch.float64) / self._length)
        return rate_n, {"steps": state["steps"] + 1, "catapult_rate": found_n}

    def _search(self, state: State, observation: Observation, evaluate: Evaluate) -> Tensor:
        active_n = observation["alive"] & (state["steps"] == 0)  # after a resume it is known
        if not bool(active_n.any()):
            return state["catapult_rate"]
        peak_n = observation["peak_lr"]
        start_n = torch.full_like(peak_n, self._spec.start_rate)
        loss_n = observation["loss"].to(torch.float64)
        rate_n, passes_n = catapult_rate(loss_n, evaluate.after, start_n, peak_n, self._spec.delta, active_n)
        self.searches += searches_of(active_n, rate_n, passes_n)
        return torch.where(active_n, rate_n, state["catapult_rate"])


def searches_of(active_n: Tensor, rate_n: Tensor, passes_n: Tensor) -> list[Search]:
    """(member, rate, forward passes) of those that searched."""
    rates, passes = rate_n.tolist(), passes_n.tolist()
    return [(member, rates[member], passes[member]) for member in active_n.nonzero().flatten().tolist()]
