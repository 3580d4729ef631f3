"""Loss and accuracy of a pack on fixed examples, never augmented, their labels as they are."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.func import vmap

from workers.science.datasets import DeviceData, Examples
from workers.science.parameters import Layout
from workers.science.protocols import Loss, Model
from workers.science.tracing import Traced

COLUMNS = ("train_eval_loss", "validation_loss", "validation_accuracy")
TEST_COLUMNS = ("test_loss", "test_accuracy")


def evaluation_function(model: Model, loss: Loss, layout: Layout) -> Traced:
    """(params_NP, inputs, targets) -> losses [N] and accuracies [N]; the examples are shared by all trials."""

    def of_one_trial(params_P: Tensor, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        outputs_BC = model.apply(layout.unflatten(params_P), inputs)
        return loss(outputs_BC, targets), accuracy(outputs_BC, targets)

    return Traced(vmap(of_one_trial, in_dims=(0, None, None)))


def accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Share of right labels; NaN where the targets are no labels of these outputs."""
    if targets.is_floating_point() or outputs.shape[:-1] != targets.shape:
        return torch.full((), torch.nan, dtype=outputs.dtype, device=outputs.device)
    return (outputs.argmax(-1) == targets).to(outputs.dtype).mean()


class Evaluator:
    """Reads the fixed sets of a workload; changes nothing and draws nothing."""

    def __init__(
        self,
        function: Callable[..., tuple[Tensor, ...]],
        data: DeviceData,
        rows: int,
        num_examples: int | None = None,
    ) -> None:
        """`rows` trials and `num_examples` examples at a time; None: all of a set at once."""
        self._function = function
        self._data = data
        self._rows = rows
        self._num_examples = num_examples

    def read(self, params_NP: Tensor) -> Tensor:
        """[3, N]: train_eval_loss, validation_loss, validation_accuracy."""
        train_loss_N, _ = self._on(self._data.train_evaluation, params_NP)
        validation_loss_N, validation_accuracy_N = self._on(self._data.validation, params_NP)
        return torch.stack((train_loss_N, validation_loss_N, validation_accuracy_N))

    def read_test(self, params_NP: Tensor) -> Tensor:
        """[2, N]: test_loss, test_accuracy."""
        return torch.stack(self._on(self._data.test, params_NP))

    def _on(self, examples: Examples, params_NP: Tensor) -> tuple[Tensor, Tensor]:
        if not len(examples):
            nan_N = torch.full_like(params_NP[:, 0], torch.nan)
            return nan_N, nan_N
        if self._num_examples is None or len(examples) <= self._num_examples:
            return self._on_all(examples, params_NP)
        inputs, targets = (torch.split(part, self._num_examples) for part in (examples.inputs, examples.targets))
        parts = [torch.stack(self._on_all(Examples(*some), params_NP)) for some in zip(inputs, targets, strict=True)]
        sums = torch.stack([part * len(some) for part, some in zip(parts, targets, strict=True)]).sum(0)
        loss_N, accuracy_N = sums / len(examples)
        return loss_N, accuracy_N

    def _on_all(self, examples: Examples, params_NP: Tensor) -> tuple[Tensor, Tensor]:
        # a few trials at a time: the activations of 1,024 examples then stay in the cache
        blocks = torch.split(params_NP, self._rows)
        parts = [self._function(params_nP, examples.inputs, examples.targets) for params_nP in blocks]
        losses, accuracies = zip(*parts, strict=True)
        return torch.cat(losses), torch.cat(accuracies)
