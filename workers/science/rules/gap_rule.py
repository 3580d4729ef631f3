"""What the rules share whose rate follows from the gap: where the loss is read, what f* is, and what is clamped."""

from typing import Any

import torch
from torch import Tensor

from schemas.schedules import GivenOptimum, RunningMinimumOptimum
from workers.science.protocols import Evaluate, Observation, Search, State


class GapRule:
    """gap = signal - optimum, then the rate that `rate_at` says of it, times `scale`.

    The signal is the training batch's loss, or its moving average e <- d e + (1 - d) loss from e = first loss, both as
    they were `lag` steps ago (the first one until then). A negative gap is set to 0 and counted, one row at a time; a
    trial whose first loss is below the given optimum never begins (`PackRates.least_start_loss`). Cost: nothing beyond
    the loss that training has anyway.
    """

    needs_gradient_norm = False
    needs_params = False

    def __init__(self, spec: Any) -> None:
        self.optimum = spec.optimum
        self._spec = spec
        self.searches: list[Search] = []  # it never searches

    def rate_at(self, gap_n: Tensor, observation: Observation) -> Tensor:
        """The rates [n] at these gaps (>= 0), in float64."""
        raise NotImplementedError

    def init(self, n: int, dtype: torch.dtype, device: torch.device) -> State:
        """float64 whatever the parameters' dtype: near the optimum the gap is a small difference."""
        zero_n = torch.zeros(n, dtype=torch.float64, device=device)
        return {
            "steps": torch.zeros(n, dtype=torch.int64, device=device),
            "gap_clamped": torch.zeros(n, dtype=torch.int64, device=device),
            "average": zero_n,
            "minimum": torch.full_like(zero_n, torch.inf),
            "signals": torch.zeros(n, self._spec.signal.lag + 1, dtype=torch.float64, device=device),
        }

    def next(self, state: State, observation: Observation, evaluate: Evaluate) -> tuple[Tensor, State]:
        """The rates [n] in float64, infinite where the law allows any. `evaluate` is not used."""
        loss_n = observation["loss"].to(torch.float64)
        is_first_n = state["steps"] == 0

        average_n = torch.where(is_first_n, loss_n, torch.lerp(loss_n, state["average"], self._spec.signal.ema_decay))
        newest_n = average_n if self._spec.signal.source == "ema" else loss_n
        shifted = torch.cat((state["signals"][:, 1:], newest_n[:, None]), 1)
        signals = torch.where(is_first_n[:, None], newest_n[:, None], shifted)
        signal_n = signals[:, 0]  # `lag` steps old
        minimum_n = torch.minimum(state["minimum"], signal_n)

        gap_n = signal_n - self._infimum(minimum_n)
        rate_n = self._spec.scale * self.rate_at(gap_n.clamp(min=0.0), observation)
        return rate_n, {
            "steps": state["steps"] + 1,
            "gap_clamped": state["gap_clamped"] + (gap_n < 0),
            "average": average_n,
            "minimum": minimum_n,
            "signals": signals,
        }

    def _infimum(self, minimum_n: Tensor) -> Tensor | float:
        if isinstance(self.optimum, GivenOptimum):
            return self.optimum.value
        return minimum_n if isinstance(self.optimum, RunningMinimumOptimum) else 0.0
