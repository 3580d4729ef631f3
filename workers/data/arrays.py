"""What a data set is once it is in memory, and the facts about it that the catalog keeps."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from schemas.catalog import DatasetFacts

_ARRAYS = ("train_x", "train_y", "validation_x", "validation_y", "test_x", "test_y")


@dataclass(frozen=True, eq=False)
class DatasetArrays:
    """A classification set: x float32 [n, ...], y int64 [n] in 0 ... num_classes - 1.

    Images from files stay pixels, x uint8 [n, channels, height, width], a quarter of the memory in every trainer. They
    stand for (x / 255 - mean) / std, channel by channel, where `pixels` is (mean, std).

    The arrays are read-only, because all callers of a process share them: give torch a copy (`torch.tensor(x)`).
    """

    train_x: np.ndarray
    train_y: np.ndarray
    validation_x: np.ndarray
    validation_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray
    num_classes: int
    sha256: str
    source: str
    pixels: tuple[tuple[float, ...], tuple[float, ...]] | None = None

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example."""
        return self.train_x.shape[1:]

    @cached_property
    def label_entropy(self) -> float:
        """Nats: -sum_c p_c log p_c over the shares p_c of the training labels; the loss of the best constant answer."""
        counts_C = np.bincount(self.train_y.ravel(), minlength=self.num_classes)
        shares_C = counts_C[counts_C > 0] / self.train_y.size
        return float(-(shares_C * np.log(shares_C)).sum())

    @cached_property
    def reference_loss(self) -> float:
        """Loss of the best constant answer: the labels' entropy, or the variance of targets that are numbers."""
        return self.label_entropy if self.train_y.dtype.kind == "i" else float(self.train_y.var(axis=0).mean())

    def facts(self, kind: str) -> DatasetFacts:
        """The catalog's row for this set."""
        return DatasetFacts(
            kind=kind,
            sha256=self.sha256,
            num_train=len(self.train_y),
            num_validation=len(self.validation_y),
            num_test=len(self.test_y),
            num_classes=self.num_classes,
            input_shape=self.input_shape,
            source=self.source,
            reference_loss=self.reference_loss,
        )


def frozen_arrays(
    splits: dict[str, tuple[np.ndarray, np.ndarray]],
    num_classes: int,
    source: str,
    pixels: tuple[tuple[float, ...], tuple[float, ...]] | None = None,
) -> DatasetArrays:
    """Arrays of `splits` (train, validation, test -> x, y), contiguous, read-only and hashed."""
    arrays = {}
    for split, (x, y) in splits.items():
        arrays[f"{split}_x"] = np.ascontiguousarray(x, np.float32 if pixels is None else np.uint8)
        arrays[f"{split}_y"] = np.ascontiguousarray(y, np.int64)
    for array in arrays.values():
        array.flags.writeable = False
    sha256 = canonical_sha256(arrays)
    return DatasetArrays(**arrays, num_classes=num_classes, sha256=sha256, source=source, pixels=pixels)


def canonical_sha256(arrays: dict[str, np.ndarray]) -> str:
    """SHA-256 over name, type, shape and little-endian C-order bytes of each array: the same on every machine."""
    digest = hashlib.sha256()
    for name in _ARRAYS:
        array = arrays[name]
        little_endian = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{name} {little_endian.dtype.str} {array.shape}\n".encode())
        digest.update(little_endian.tobytes())
    return digest.hexdigest()


def fixed_permutation(size: int, seed: int) -> np.ndarray:
    """int64 [size]: the same for ever."""
    # From the bit generator's raw numbers: numpy keeps those for ever, but may change Generator.permutation.
    return np.argsort(np.random.PCG64(seed).random_raw(size), kind="stable")
