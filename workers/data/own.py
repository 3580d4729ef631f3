"""A data set of the user's own: called with its options, checked, and made read-only arrays. Imports no torch."""

import random
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np

from schemas.plugins import PluginDataset
from workers.data.arrays import DatasetArrays, canonical_sha256
from workers.plugins import PluginFailed, calling, load

PARTS = ("train", "validation", "test")
MOST_CLASSES = 1_000_000
"""More are no classes but some other number, and a histogram of them would fill the memory."""


@lru_cache(maxsize=8)
def load_own(dataset: PluginDataset) -> DatasetArrays:
    """Its arrays, asked for once per process, with the global random streams of numpy and Python at a fixed start.

    x: numbers, float32 or int64 (whole numbers stay so: token ids). y: class labels 0 ... C - 1, int64, or float32
    targets of any shape, for a loss of the user's own.

    Raises:
        PluginMissing. PluginFailed: it raises, or gives something else; the message says what and what is allowed.
    """
    function = load("datasets", dataset.name).call
    with calling("datasets", dataset.name), _fixed_streams():
        given = function(**dataset.options)
    says = _Says(dataset.name)
    if not isinstance(given, Mapping) or not {"train", "validation"} <= set(given) <= set(PARTS):
        got = f"keys {', '.join(map(str, given))}" if isinstance(given, Mapping) else type(given).__name__
        raise says(f"got {got}", 'a mapping of "train", "validation" and, where there is one, "test"')
    splits = {part: _split(given[part], part, says) for part in PARTS if part in given}
    train_x, train_y = splits["train"]
    # without a test set there is nothing to read on it
    splits.setdefault("test", (train_x[:0], train_y[:0]))
    for part, (x, y) in splits.items():
        got, allowed = (
            ((x.dtype, x.shape[1:]), (y.dtype, y.shape[1:])),
            (
                (train_x.dtype, train_x.shape[1:]),
                (train_y.dtype, train_y.shape[1:]),
            ),
        )
        if got != allowed:
            raise says(f"{part}: got x and y of {_shapes(got)}", f"those of train, {_shapes(allowed)}")
    num_classes = _num_classes(splits, says)
    return _frozen(splits, num_classes, f"plugin {dataset.name}")


class _Says:
    """Makes the refusal of one data set."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, got: str, allowed: str) -> PluginFailed:
        return PluginFailed(f"data set {self._name}: {got}, allowed {allowed}")


def _split(given: Any, part: str, says: _Says) -> tuple[np.ndarray, np.ndarray]:
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise says(f"{part}: got {type(given).__name__}", "a pair (x, y) of arrays or tensors")
    x, y = (_array(value, f"{part} {axis}", says) for axis, value in zip("xy", given, strict=True))
    if x.ndim < 2 or y.ndim < 1 or len(x) != len(y) or not x.size:
        got = f"{part}: got x of shape {list(x.shape)} and y of shape {list(y.shape)}"
        raise says(got, "x [n, ...] and y [n, ...] of equally many examples, one at least, none of them empty")
    return x, y


def _array(value: Any, what: str, says: _Says) -> np.ndarray:
    try:
        array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
    except Exception as error:
        raise says(f"{what}: got {type(value).__name__} ({error})", "an array or a tensor") from error
    if array.dtype.kind in "iub":
        return array.astype(np.int64)
    if array.dtype.kind != "f":
        raise says(f"{what}: got dtype {array.dtype}", "real numbers or integers")
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise says(f"{what}: got NaN, infinity or a number beyond float32", "finite numbers")
    return array


def _num_classes(splits: Mapping[str, tuple[np.ndarray, np.ndarray]], says: _Says) -> int:
    """Labels are 0 ... C - 1; 1 where the targets are numbers."""
    if splits["train"][1].dtype.kind == "f":
        return 1
    lowest = min(int(y.min()) for _, y in splits.values() if y.size)
    highest = max(int(y.max()) for _, y in splits.values() if y.size)
    if lowest < 0:
        raise says(f"y: got label {lowest}", "0 or more")
    if highest >= MOST_CLASSES:
        raise says(f"y: got label {highest}", f"the number of a class, 0 to {MOST_CLASSES - 1} at most")
    return highest + 1


def _frozen(splits: dict[str, tuple[np.ndarray, np.ndarray]], num_classes: int, source: str) -> DatasetArrays:
    arrays = {
        f"{part}_{axis}": np.ascontiguousarray(a) for part in PARTS for axis, a in zip("xy", splits[part], strict=True)
    }
    for array in arrays.values():
        array.flags.writeable = False
    return DatasetArrays(**arrays, num_classes=num_classes, sha256=canonical_sha256(arrays), source=source)


def _shapes(pair: Any) -> str:
    return " and ".join(f"{dtype} {list(shape)} an example" for dtype, shape in pair)


@contextmanager
def _fixed_streams() -> Iterator[None]:
    """The global streams of Python and numpy (and of torch, where it is loaded) at a fixed start, and back."""
    torch = sys.modules.get("torch")
    before = random.getstate(), np.random.get_state(), torch.get_rng_state() if torch else None
    random.seed(0)
    np.random.seed(0)
    if torch:
        torch.manual_seed(0)
    try:
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        if torch:
            torch.set_rng_state(before[2])
