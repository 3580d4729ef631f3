"""One catapult after the other: the rate rises to the threshold whenever the loss has come down from the last one."""

import torch
from torch import Tensor

from schemas.schedules import PersistentCatapultWarmup
from workers.science.protocols import Evaluate, Observation, Search, State
from workers.science.rules.catapult_search import catapult_rate
from workers.science.rules.catapult_start import searches_of


class PersistentCatapultRule:
    """Searches at the start and whenever the loss is below the one at the last search; the rate never falls.

    Cost: each search's forward passes. Whether a member is below has to be known before its update, so the host waits
    for the device at every step of the warmup.
    """

    optimum = None
    needs_gradient_norm = False

    def __init__(self, spec: PersistentCatapultWarmup) -> None:
        self._spec = spec
        self.searches: list[Search] = []

    def init(self, n: int, dtype: torch.dtype, device: torch.device) -> State:
        """The present rate, start_rate before the first update, and the loss at the last search."""
        rate_n = torch.full((n,), self._spec.start_rate, dtype=torch.float64, device=device)
        return {"rate": rate_n, "reference": torch.full_like(rate_n, torch.inf)}

    def next(self, state: State, observation: Observation, evaluate: Evaluate) -> tuple[Tensor, State]:
        """The rates [n] in float64."""
        loss_n, peak_n = observation["loss"].to(torch.float64), observation["peak_lr"]
        active_n = observation["alive"] & (loss_n < state["reference"]) & (state["rate"] < peak_n)
        if not bool(active_n.any()):
            return state["rate"], state
        rate_n, passes_n = catapult_rate(loss_n, evaluate, state["rate"], peak_n, self._spec.delta, active_n)
        self.searches += searches_of(active_n, rate_n, passes_n)
        return rate_n, {"rate": rate_n, "reference": torch.where(active_n, loss_n, state["reference"])}
