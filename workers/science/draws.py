"""Random numbers of each step of each slot, pure functions of a seed and the step: a resumed run draws the same."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from workers.science.streams import generator

BLOCK_VALUES = 2**22
"""Drawn and moved to the device at once."""


class PerStepDraws:
    """`draw(generator)` on the CPU for each step and seed, from the stream `name`; slots of one seed share it."""

    def __init__(
        self, name: str, seed_of_slot: Sequence[int], draw: Callable[[torch.Generator], Tensor], device: torch.device
    ) -> None:
        self._name = name
        self._seeds = sorted(set(seed_of_slot))
        self._row_of_slot = torch.tensor([self._seeds.index(seed) for seed in seed_of_slot])
        self._draw = draw
        self._device = device

    def steps(self, first: int, last: int) -> Iterator[Tensor]:
        """[N, ...] for each of the steps first ... last - 1; a block of steps goes to the device at once."""
        while first < last:
            one_SX = self._of_step(first)
            block = max(1, BLOCK_VALUES // (len(self._row_of_slot) * one_SX[0].numel()))
            end = min(last, first + block)
            drawn_TSX = torch.stack([one_SX, *(self._of_step(step) for step in range(first + 1, end))])
            yield from drawn_TSX.index_select(1, self._row_of_slot).to(self._device).unbind()
            first = end

    def _of_step(self, step: int) -> Tensor:
        return torch.stack([self._draw(generator(seed, self._name, step)) for seed in self._seeds])
