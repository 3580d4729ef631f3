"""How far an optimizer's own bound has cut the steps of each weight matrix, over the updates made so far."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from workers.science.protocols import State


class StepBounds:
    """Sums up an optimizer's state "bound" [N, L], the share of the rate that it applied to each of L matrices.

    Everything stays on the device until it is asked for; a trial that is over keeps what it had.
    """

    def __init__(self, names: Sequence[str], like_NL: Tensor) -> None:
        """`names`: of the matrices."""
        self._names = list(names)
        zero_N = torch.zeros_like(like_NL[:, 0], dtype=torch.int64)
        self.state: State = {
            "updates": zero_N,
            "times": zero_N.clone(),
            "least": torch.ones_like(like_NL[:, 0]),
            "sum": torch.zeros_like(like_NL),
        }

    def take(self, bound_NL: Tensor, alive_N: Tensor) -> None:
        """The bounds of the update just made."""
        is_taken_N = alive_N & torch.isfinite(bound_NL).all(dim=1)
        taken_NL = torch.where(is_taken_N.unsqueeze(1), bound_NL, 1.0)
        self.state["updates"] += is_taken_N
        self.state["times"] += (taken_NL < 1.0).any(dim=1)
        self.state["least"] = torch.minimum(self.state["least"], taken_NL.amin(dim=1))
        self.state["sum"] += torch.where(is_taken_N.unsqueeze(1), bound_NL, 0.0)

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Puts back `state`."""
        self.state = {name: state[name] for name in self.state}

    def of_slot(self, slot: int) -> dict[str, float | str]:
        """Of one trial: `updates` made, `times` that a matrix's step was bounded in, and of applied rate / rate the
        `least`, the `mean` over updates and matrices, and `mean.NAME` over the updates of each matrix; NaN without any.
        """
        updates = int(self.state["updates"][slot])
        means = (self.state["sum"][slot] / updates).tolist() if updates else [torch.nan] * len(self._names)
        return {
            "updates": updates,
            "times": int(self.state["times"][slot]),
            "least": float(self.state["least"][slot]),
            "mean": sum(means) / len(means),
            **{f"mean.{name}": mean for name, mean in zip(self._names, means, strict=True)},
        }
