"""Dropout whose masks are a function of a key: nothing is drawn, so a step can be made again with the same masks.

The mask of an element is a hash of its position, of the layer and of the key of (seed, step): the same on every device,
under vmap, and after a resume.
"""

import torch
from torch import Tensor

from workers.science.streams import WORD

_MULTIPLIER = 0x45D9F3B
_MASK = WORD - 1


def dropout(inputs: Tensor, probability: float, key: Tensor | None, site: int) -> Tensor:
    """`inputs` [...] of one trial with each element zeroed with `probability`, the others divided by 1 - probability.

    Args:
        key: int64 scalar below 2^32; None: no dropout (as when evaluating).
        site: which dropout of the network this is: two of them share no mask.
    """
    if key is None or probability == 0.0:
        return inputs
    position = torch.arange(inputs.numel(), device=inputs.device).view(inputs.shape)
    mixed = _mix(position ^ _mix(key ^ _mix_int(site + 1)))
    keep = _mix(mixed + key) >= int(probability * WORD)
    return inputs * keep.to(inputs.dtype) / (1.0 - probability)


def _mix(word: Tensor) -> Tensor:
    """A permutation of the 32-bit words in int64 that spreads each bit over all; no product leaves 63 bits."""
    word = (((word >> 16) ^ word) & _MASK) * _MULTIPLIER & _MASK
    word = ((word >> 16) ^ word) * _MULTIPLIER & _MASK
    return (word >> 16) ^ word


def _mix_int(word: int) -> int:
    word = ((word >> 16) ^ word) * _MULTIPLIER & _MASK
    word = ((word >> 16) ^ word) * _MULTIPLIER & _MASK
    return (word >> 16) ^ word
