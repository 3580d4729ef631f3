"""Named random streams: a generator is a function of its seed and its names, of nothing else that has been drawn."""

from hashlib import sha256

import torch

WORD = 2**32
"""Numbers of `word` are below it."""


def generator(seed: int, *names: str | int) -> torch.Generator:
    """A CPU generator for the stream `names` of `seed`.

    Derived by SHA-256, so streams are independent, and the same in every process, pack and slot. Always on the CPU:
    what is drawn must not depend on the device.
    """
    return torch.Generator(device="cpu").manual_seed(_number(seed, names) >> 1)


def word(seed: int, *names: str | int) -> int:
    """A number below 2^32 for the stream `names` of `seed`."""
    return _number(seed, names) >> 32


def _number(seed: int, names: tuple[str | int, ...]) -> int:
    text = "\x1f".join([str(seed), *(f"{type(name).__name__}:{name}" for name in names)])
    return int.from_bytes(sha256(text.encode()).digest()[:8], "big")
