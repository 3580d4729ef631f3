"""A text in memory: one byte a token, in three contiguous parts, and the windows that examples are cut from it as."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from types import MappingProxyType

import numpy as np
from numpy.lib.stride_tricks import as_strided

from schemas.catalog import DatasetFacts, num_windows

PARTS = ("train", "validation", "test")
TRAIN_PERCENT, VALIDATION_PERCENT = 90, 5
EVALUATION_CHARACTERS = 16_384
"""Of validation and of test, at most, that are evaluated on."""


@dataclass(frozen=True, eq=False)
class TextArrays:
    """A text: uint8 tokens [n] of each part, in 0 ... num_classes - 1.

    The arrays are read-only, because all callers of a process share them.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    num_classes: int
    """Size of the vocabulary."""
    sha256: str
    source: str

    @cached_property
    def unigram_entropy(self) -> float:
        """Nats: the loss of the best answer that looks at nothing, over the characters of the training part."""
        counts_C = np.bincount(self.train, minlength=self.num_classes)
        shares_C = counts_C[counts_C > 0] / len(self.train)
        return float(-(shares_C * np.log(shares_C)).sum())

    def facts(self, kind: str) -> DatasetFacts:
        """The catalog's row for this text: its counts are of characters."""
        return DatasetFacts(
            kind=kind,
            sha256=self.sha256,
            num_train=len(self.train),
            num_validation=len(self.validation),
            num_test=len(self.test),
            num_classes=self.num_classes,
            input_shape=(),
            source=self.source,
            reference_loss=self.unigram_entropy,
        )


def frozen_text(tokens: np.ndarray, num_classes: int, source: str) -> TextArrays:
    """`tokens` uint8 [n], cut into the first 90 %, the next 5 % and the rest, and hashed."""
    first = len(tokens) * TRAIN_PERCENT // 100
    last = len(tokens) * (TRAIN_PERCENT + VALIDATION_PERCENT) // 100
    tokens = np.ascontiguousarray(tokens, np.uint8)
    tokens.flags.writeable = False
    said = f"text uint8 {len(tokens)} {first} {last} {num_classes}\n".encode()
    sha256 = hashlib.sha256(said + tokens.tobytes()).hexdigest()
    return TextArrays(tokens[:first], tokens[first:last], tokens[last:], num_classes, sha256, source)


@lru_cache(maxsize=4)
def windows(text: TextArrays, context: int, subset: int | None = None) -> Mapping[str, np.ndarray]:
    """The three parts as examples, `train_x` [n, context] and `train_y` beside it, and so on: views, nothing is copied.

    The same arrays for the same text, so that the packs of a process share what lies on the device, too.

    Window i of a part holds its tokens i C ... i C + C - 1; its targets are the tokens i C + 1 ... i C + C. Windows of
    one part share no input, parts share nothing. Of the training part the first `subset`, or all; of the others as many
    as EVALUATION_CHARACTERS hold, spread evenly over the part (copied where they are not all).

    Raises:
        ValueError: a part is shorter than one window and the token after it.
    """
    arrays = {}
    for part in PARTS:
        tokens = getattr(text, part)
        num = num_windows(len(tokens), context)
        if num == 0:
            raise ValueError(
                f"model.context: got {context}, allowed at most {len(tokens) - 1}, the {part} part less one"
            )
        inputs, targets = _windows(tokens, num, context), _windows(tokens[1:], num, context)
        chosen = _chosen(part, num, context, subset)
        arrays[f"{part}_x"], arrays[f"{part}_y"] = inputs[chosen], targets[chosen]
    return MappingProxyType(arrays)


def _windows(tokens: np.ndarray, num: int, context: int) -> np.ndarray:
    return as_strided(tokens, (num, context), (context, 1), writeable=False)


def _chosen(part: str, num: int, context: int, subset: int | None) -> slice | np.ndarray:
    return slice(subset) if part == "train" else evenly_chosen(num, context)


def evenly_chosen(num: int, context: int) -> slice | np.ndarray:
    """Which of `num` windows are evaluated on: all, or as many as EVALUATION_CHARACTERS hold, spread evenly."""
    most = max(1, EVALUATION_CHARACTERS // context)
    return slice(None) if num <= most else np.arange(most) * num // most
