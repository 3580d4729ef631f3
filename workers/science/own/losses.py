"""A loss of the user's own, and the best constant answer to it."""

import torch
from torch import Tensor

from schemas.plugins import PluginLoss
from workers.plugins import PluginFailed, calling, load

ANSWER_TARGETS = 10_000
"""The best constant answer is sought on so many training targets, the first ones."""


class OwnLoss:
    """`f(output, target, **options)`, a scalar. As `workers.science.protocols.Loss`."""

    def __init__(self, spec: PluginLoss) -> None:
        self.name = spec.name
        self._spec = spec

    def __call__(self, outputs_BC: Tensor, targets_B: Tensor) -> Tensor:
        """The loss of one trial's batch.

        Raises:
            PluginFailed: it raises, or gives no scalar of a real dtype.
        """
        function = load("losses", self.name).call
        with calling("losses", self.name):
            value = function(outputs_BC, targets_B, **self._spec.options)
        if not isinstance(value, Tensor) or value.dim() != 0 or not value.is_floating_point():
            got = f"{value.dtype} of shape {list(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise PluginFailed(f"loss {self.name}: got {got}, allowed a real scalar tensor: the mean over the batch")
        return value.to(outputs_BC.dtype)

    def constant_answer(self, targets_n: Tensor, num_classes: int) -> float:
        """Loss of the best outputs [C], the same for every example."""
        return self.best_constant(targets_n, (num_classes,))

    def best_constant(self, targets: Tensor, output_shape: tuple[int, ...]) -> float:
        """The least loss that L-BFGS finds over outputs that are the same for every example; from 0, in float64.

        A loss without a minimum gives what it had got to. NaN where it cannot be asked so.
        """
        targets = targets[:ANSWER_TARGETS]
        targets = targets.double() if targets.is_floating_point() else targets
        answer = torch.zeros(output_shape, dtype=torch.float64, requires_grad=True)
        search = torch.optim.LBFGS([answer], max_iter=100, line_search_fn="strong_wolfe")
        best = torch.inf

        def closure() -> Tensor:
            nonlocal best
            search.zero_grad()
            loss = self(answer.expand(len(targets), *output_shape), targets)
            loss.backward()  # type: ignore[no-untyped-call]
            best = min(best, float(loss.detach()))
            return loss

        try:
            search.step(closure)  # type: ignore[no-untyped-call]
        except (RuntimeError, PluginFailed):  # it may take no float64, say
            return torch.nan
        return best
