"""Which training examples each trial sees at each step."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from workers.science.datasets import Examples
from workers.science.draws import NormalDraws
from workers.science.protocols import Batch
from workers.science.streams import generator, word


class TrainingBatches(Protocol):
    """Where the loop's batches come from."""

    def steps(self, first: int, last: int) -> Iterator[Batch]:
        """The batches of steps first ... last - 1."""


class DataOrder:
    """The order of one seed: epoch after epoch, each a permutation of its own, cut into batches of B.

    Batches run over the ends of epochs, so that all have B examples and stack. With `replacement` an "epoch" is as many
    independent draws.
    """

    def __init__(self, seed: int, num_examples: int, *, replacement: bool = False) -> None:
        self._seed = seed
        self._num_examples = num_examples
        self._replacement = replacement
        self._epochs: dict[int, Tensor] = {}

    def positions(self, first: int, last: int) -> Tensor:
        """int64 [last - first]: the examples at the positions first ... last - 1 of the endless order."""
        first_epoch, last_epoch = first // self._num_examples, (last - 1) // self._num_examples
        # of the past only the epoch in which the next batch may still begin is kept
        self._epochs = {epoch: order for epoch, order in self._epochs.items() if epoch >= first_epoch}
        orders = [self._epoch(epoch) for epoch in range(first_epoch, last_epoch + 1)]
        start = first - first_epoch * self._num_examples
        return torch.cat(orders)[start : start + last - first]

    def _epoch(self, epoch: int) -> Tensor:
        if epoch not in self._epochs:
            stream = generator(self._seed, "data_order", epoch)
            if self._replacement:
                drawn = torch.randint(self._num_examples, (self._num_examples,), generator=stream)
            else:
                drawn = torch.randperm(self._num_examples, generator=stream)
            self._epochs[epoch] = drawn
        return self._epochs[epoch]


class StackedBatches:
    """The training batches of a pack: one order per distinct seed, the examples gathered on the device."""

    def __init__(
        self, train: Examples, data_order_seeds: Sequence[int], batch_size: int, *, replacement: bool = False
    ) -> None:
        self._train = train
        self._batch_size = batch_size
        distinct = sorted(set(data_order_seeds))
        self._orders = [DataOrder(seed, len(train), replacement=replacement) for seed in distinct]
        self._order_of_slot = torch.tensor([distinct.index(seed) for seed in data_order_seeds])

    def steps(self, first: int, last: int) -> Iterator[Batch]:
        """The batches of steps first ... last - 1; their indices go to the device at once."""
        if last <= first:
            return
        size, num_slots = self._batch_size, len(self._order_of_slot)
        positions = [order.positions(first * size, last * size).view(-1, size) for order in self._orders]
        index_TNB = torch.stack(positions, dim=1).index_select(1, self._order_of_slot)
        for index_B in index_TNB.reshape(last - first, -1).to(self._train.targets.device).unbind():
            examples = self._train.take(index_B)
            inputs = examples.inputs.view(num_slots, size, *examples.inputs.shape[1:])
            targets = examples.targets.view(num_slots, size, *examples.targets.shape[1:])
            yield Batch((inputs, targets), stacked=True, size=size)


class SharedBatch:
    """The same batch at every step, for all trials: the whole training set, or nothing for an analytic function."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    def steps(self, first: int, last: int) -> Iterator[Batch]:
        """`last - first` times the batch."""
        for _ in range(first, last):
            yield self._batch


class DrawnBatches:
    """Batches of random numbers alone, each trial's own: what an analytic function is perturbed by."""

    def __init__(self, draws: Sequence[NormalDraws]) -> None:
        self._draws = draws

    def steps(self, first: int, last: int) -> Iterator[Batch]:
        """The batches of steps first ... last - 1: a tensor [N, ...] from each of the draws."""
        for tensors in zip(*(draws.steps(first, last) for draws in self._draws), strict=True):
            yield Batch(tensors, stacked=True)


PROBE_KEY = word(0, "dropout", "probe")
"""Of the masks under which probes measure: the same at every point, so that a Hessian-vector product is linear."""


class KeyedBatches:
    """Batches with one more tensor: the key [N] of each trial's dropout masks, from its noise seed and the step."""

    def __init__(self, batches: TrainingBatches, noise_seeds: Sequence[int], device: torch.device) -> None:
        self._batches = batches
        self._seeds = list(noise_seeds)
        self._device = device

    def steps(self, first: int, last: int) -> Iterator[Batch]:
        """The batches of steps first ... last - 1; their keys go to the device at once."""
        distinct = {seed: [word(seed, "dropout", step) for step in range(first, last)] for seed in set(self._seeds)}
        keys_TN = torch.tensor([[distinct[seed][row] for seed in self._seeds] for row in range(last - first)])
        for batch, keys_N in zip(self._batches.steps(first, last), keys_TN.to(self._device).unbind(), strict=True):
            tensors = batch.tensors
            if not batch.stacked:
                tensors = tuple(tensor.expand(len(self._seeds), *tensor.shape) for tensor in tensors)
            yield Batch((*tensors, keys_N), stacked=True, size=batch.size)
