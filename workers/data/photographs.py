"""CIFAR-10 and Fashion-MNIST: pixels and labels from `NAME/train.npz` and `NAME/test.npz` of the data directory.

Each file holds images uint8 [n, height, width, 3] or [n, height, width] and labels uint8 [n], a whole set or a part of
it. The split is fixed: of the n rows of train.npz, in a fixed permutation, the last n // 6 validate and the others
train; test.npz tests.
"""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from schemas.errors import DataMissing
from workers.data.arrays import DatasetArrays, fixed_permutation, frozen_arrays

NUM_CLASSES = 10
VALIDATION_SHARE = 6
_SPLIT_SEED = 20_250_102


@dataclass(frozen=True)
class _Set:
    name: str
    shape: tuple[int, ...]
    """Of an image in the files."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    """Of the pixels of the official training images, by channel, in units of 255."""


CIFAR10 = _Set("cifar10", (32, 32, 3), (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
FASHION_MNIST = _Set("fashion_mnist", (28, 28), (0.2860,), (0.3530,))


def load_cifar10(data_dir: Path | None) -> DatasetArrays:
    """Pixels uint8 [n, 3, 32, 32].

    Raises:
        DataMissing: a file is not there, or holds something else; the message says what to do.
    """
    return _load(CIFAR10, data_dir)


def load_fashion_mnist(data_dir: Path | None) -> DatasetArrays:
    """Pixels uint8 [n, 1, 28, 28].

    Raises:
        DataMissing: a file is not there, or holds something else; the message says what to do.
    """
    return _load(FASHION_MNIST, data_dir)


def _load(known: _Set, data_dir: Path | None) -> DatasetArrays:
    train_x, train_y = _read(known, "train", data_dir)
    order = fixed_permutation(len(train_y), _SPLIT_SEED)
    train, validation = np.split(order, [len(order) - len(order) // VALIDATION_SHARE])
    splits = {
        "train": (train_x[train], train_y[train]),
        "validation": (train_x[validation], train_y[validation]),
        "test": _read(known, "test", data_dir),
    }
    assert data_dir is not None
    return frozen_arrays(splits, NUM_CLASSES, str(data_dir / known.name), (known.mean, known.std))


def _read(known: _Set, part: str, data_dir: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """Images [n, channels, height, width] and labels [n]."""
    path = data_dir / known.name / f"{part}.npz" if data_dir else None
    if path is None or not path.is_file():
        where = path or f"{known.name}/{part}.npz of a data directory"
        raise DataMissing(f"{known.name}: there is no {where}; {_how_to_get(known.name)}")
    try:
        with path.open("rb") as content:  # numpy leaves a file open that it cannot read
            file = np.load(content, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError("got one array, allowed an npz of images and labels")
            images, labels = file["images"], file["labels"]
        _check(known, images, labels)
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        again = _how_to_get(known.name, " --replace")
        raise DataMissing(f"{known.name}: {path} cannot be read: {error}; {again}") from error
    return images.reshape(len(images), *known.shape[:2], -1).transpose(0, 3, 1, 2), labels


def _check(known: _Set, images: np.ndarray, labels: np.ndarray) -> None:
    got = (images.dtype, images.shape[1:], labels.dtype, labels.shape)
    if got != (np.uint8, known.shape, np.uint8, (len(images),)):
        raise ValueError(
            f"got images {images.dtype} {images.shape} and labels {labels.dtype} {labels.shape}, allowed uint8"
            f" {('n', *known.shape)} and uint8 ('n',)"
        )
    if len(labels) < VALIDATION_SHARE or labels.max() >= NUM_CLASSES:
        raise ValueError(f"got {len(labels)} images, allowed at least {VALIDATION_SHARE}, of classes 0 to 9")


def _how_to_get(name: str, option: str = "") -> str:
    fetch, take = (
        f"`warmup-bench data {verb} {name}{words}{option}`" for verb, words in (("fetch", ""), ("import", " PATH"))
    )
    return f"{fetch} gets it, {take} takes it over from files"
