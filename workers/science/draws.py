"""Random numbers of each step of each slot, pure functions of a seed and the step: a resumed run draws the same."""

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from workers.science.streams import generator

BLOCK_VALUES = 2**22
"""Drawn and moved to the device at once."""
NORMAL_BLOCK_VALUES = 2**13
"""Normal numbers that one generator gives, about: fixed, because which numbers a step gets hangs on it."""


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


class NormalDraws:
    """Numbers N(0, 1) x `scale` for each step and seed, from the stream `name`; slots of one seed share them.

    One generator serves a block of steps, whose length follows from the shape alone: making one for each step would
    cost more than a step of a small function.
    """

    def __init__(
        self,
        name: str,
        seed_of_slot: Sequence[int],
        shape: tuple[int, ...],
        like: Tensor,
        *,
        scale: float = 1.0,
    ) -> None:
        self._name = name
        self._seeds = sorted(set(seed_of_slot))
        self._row_of_slot = torch.tensor([self._seeds.index(seed) for seed in seed_of_slot], device=like.device)
        self._block = max(1, NORMAL_BLOCK_VALUES // math.prod(shape))
        self._shape = (self._block, *shape)
        self._like = like
        self._scale = scale

    def steps(self, first: int, last: int) -> Iterator[Tensor]:
        """[N, ...] in the dtype of `like` for each of the steps first ... last - 1."""
        while first < last:
            block, offset = divmod(first, self._block)
            end = min(last, first - offset + self._block)
            drawn_TSX = self._of_block(block)[offset : offset + end - first].to(self._like)
            for drawn_SX in drawn_TSX.unbind():
                yield drawn_SX.index_select(0, self._row_of_slot)
            first = end

    def _of_block(self, block: int) -> Tensor:
        drawn = [
            torch.randn(self._shape, generator=generator(seed, self._name, block), dtype=torch.float64)
            for seed in self._seeds
        ]
        return self._scale * torch.stack(drawn, dim=1)
