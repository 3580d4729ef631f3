"""Training labels replaced by uniform draws, once before a run or anew at every step; no other labels are touched."""

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from schemas.workloads import LabelNoise
from workers.science.batches import TrainingBatches
from workers.science.datasets import Examples
from workers.science.draws import PerStepDraws
from workers.science.protocols import Batch
from workers.science.streams import generator

KEPT = -1


def has_noise(spec: LabelNoise) -> bool:
    """Whether any label can change: what cannot trains with the bits of a plain run."""
    return spec.kind != "none" and spec.level > 0


def labels_by_seed(train: Examples, level: float, seeds: Sequence[int], num_classes: int) -> Examples:
    """`train` with labels [n, S], a column per noise seed: each label drawn anew with probability `level`, for good."""
    drawn = [_draw(generator(seed, "label_noise"), level, num_classes, len(train)) for seed in seeds]
    columns_nS = torch.stack(drawn, dim=1).to(train.targets.device)
    return Examples(train.inputs, _replaced(train.targets.unsqueeze(1), columns_nS))


class OwnLabels:
    """Batches of `inner`, whose labels have a last axis of one column per noise seed: each slot gets its seed's."""

    def __init__(self, inner: TrainingBatches, column_of_slot: Tensor) -> None:
        self._inner = inner
        self._column_N = column_of_slot

    def steps(self, first: int, last: int) -> Iterator[Batch]:
        """The batches of steps first ... last - 1, stacked."""
        for batch in self._inner.steps(first, last):
            inputs, labels = stacked(batch, len(self._column_N))
            index_NB1 = self._column_N.view(-1, 1, 1).expand(-1, labels.shape[1], 1)
            yield Batch((inputs, labels.gather(2, index_NB1).squeeze(2)), stacked=True, size=batch.size)


class FreshLabels:
    """Batches of `inner` whose labels are drawn anew at every step: a pure function of the noise seed and the step."""

    def __init__(
        self,
        inner: TrainingBatches,
        level: float,
        seed_of_slot: Sequence[int],
        batch_size: int,
        num_classes: int,
        device: torch.device,
    ) -> None:
        self._inner = inner
        draw = partial(_draw, level=level, num_classes=num_classes, size=batch_size)
        self._draws = PerStepDraws("label_noise", seed_of_slot, draw, device)

    def steps(self, first: int, last: int) -> Iterator[Batch]:
        """The batches of steps first ... last - 1, stacked."""
        for batch, drawn_NB in zip(self._inner.steps(first, last), self._draws.steps(first, last), strict=True):
            inputs, labels = stacked(batch, len(drawn_NB))
            yield Batch((inputs, _replaced(labels, drawn_NB)), stacked=True, size=batch.size)


def stacked(batch: Batch, num_slots: int) -> tuple[Tensor, ...]:
    """The batch's tensors with a leading axis of slots; of a shared batch, views of one memory."""
    return (
        batch.tensors if batch.stacked else tuple(tensor.expand(num_slots, *tensor.shape) for tensor in batch.tensors)
    )


def _draw(stream: torch.Generator, level: float, num_classes: int, size: int) -> Tensor:
    """int64 [size]: a class where a label is to be replaced, else KEPT."""
    is_drawn = torch.rand(size, generator=stream, dtype=torch.float64) < level
    return torch.where(is_drawn, torch.randint(num_classes, (size,), generator=stream), KEPT)


def _replaced(labels: Tensor, drawn: Tensor) -> Tensor:
    return torch.where(drawn == KEPT, labels, drawn)
