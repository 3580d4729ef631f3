"""One catapult after the other: the rate rises to the threshold whenever the loss has come down from the last one."""

import torch
from torch import Tensor

from schemas.schedules import Optimum, PersistentCatapultWarmup
from workers.science.protocols import Evaluate, Observation, Search, State
from workers.science.rules.catapult_search import catapult_rate
from workers.science.rules.catapult_start import searches_of


class PersistentCatapultRule:
    """Searches at the start, and whenever the loss is below that at the parameters of the last search, both on the
    present batch, so that the batches' luck cannot decide. The rate never falls.

    Cost: one forward pass a step until the rate is peak_lr, and each search's. Whether a member is below has to be
    known before its update, so the host waits for the device at every step of the warmup.
    """

    optimum: Optimum | None = None
    needs_gradient_norm = False
    needs_params = True

    def __init__(self, spec: PersistentCatapultWarmup) -> None:
        self._spec = spec
        self.searches: list[Search] = []

    def init(self, n: int, dtype: torch.dtype, device: torch.device) -> State:
        """The present rate, start_rate before the first update; the parameters of the last search come with it."""
        rate_n = torch.full((n,), self._spec.start_rate, dtype=torch.float64, device=device)
        has_begun_n = torch.zeros(n, dtype=torch.bool, device=device)
        return {"rate": rate_n, "has_begun": has_begun_n, "reference": torch.empty(n, 0, dtype=dtype, device=device)}

    def next(self, state: State, observation: Observation, evaluate: Evaluate) -> tuple[Tensor, State]:
        """The rates [n] in float64."""
        loss_n, peak_n, params_nP = observation["loss"].to(torch.float64), observation["peak_lr"], observation["params"]
        waiting_n = observation["alive"] & (state["rate"] < peak_n)
        if not bool(waiting_n.any()):
            return state["rate"], state
        reference_nP = state["reference"] if state["reference"].shape[1] else params_nP
        compared_n = waiting_n & state["has_begun"]
        active_n = waiting_n & ~state["has_begun"]
        if bool(compared_n.any()):
            active_n = active_n | (compared_n & (loss_n < evaluate.at(reference_nP, compared_n).to(torch.float64)))
        if not bool(active_n.any()):
            return state["rate"], state | {"reference": reference_nP}
        rate_n, passes_n = catapult_rate(loss_n, evaluate.after, state["rate"], peak_n, self._spec.delta, active_n)
        self.searches += searches_of(active_n, rate_n, passes_n)
        return rate_n, {
            "rate": rate_n,
            "has_begun": state["has_begun"] | active_n,
            "reference": torch.where(active_n[:, None], params_nP, reference_nP),
        }
