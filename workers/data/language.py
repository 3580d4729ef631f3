"""The examples of a language model's workload: windows of a text, or those that a data set of the user's own gives."""

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

import numpy as np

from schemas.plugins import PluginDataset, PluginModel
from schemas.workloads import LanguageModel
from workers.data.arrays import DatasetArrays
from workers.data.texts import PARTS, TextArrays, evenly_chosen, windows
from workers.plugins import PluginFailed

BYTE = 256


def examples_of(workload: LanguageModel, arrays: DatasetArrays | TextArrays) -> Mapping[str, np.ndarray]:
    """`train_x` [n, context] and `train_y` beside it, and so on; the same arrays for equal workloads of a process.

    Tokens are uint8, int32 where the vocabulary is larger; a model of the user's own reads int64, as torch's embedding
    does.

    Raises:
        ValueError: a part of the text is shorter than one window and the token after it. PluginFailed: a data set of
            the user's own gives something else than windows of that length.
    """
    if isinstance(workload.dataset, PluginDataset):
        assert isinstance(arrays, DatasetArrays)
        examples = _own_windows(arrays, workload.dataset.name, workload.context)
    else:
        assert isinstance(arrays, TextArrays)
        examples = windows(arrays, workload.context, workload.dataset.subset)
    return _read_as_int64(_Examples(examples)) if isinstance(workload.model, PluginModel) else examples


@lru_cache(maxsize=4)
def _own_windows(arrays: DatasetArrays, name: str, context: int) -> Mapping[str, np.ndarray]:
    for part in PARTS:
        x, y = (getattr(arrays, f"{part}_{axis}") for axis in "xy")
        if x.dtype.kind != "i" or y.dtype.kind != "i" or x.shape[1:] != (context,) or y.shape[1:] != (context,):
            got = " and ".join(f"{axis} {array.dtype} {list(array.shape)}" for axis, array in (("x", x), ("y", y)))
            allowed = f"whole numbers [n, {context}], the model's context, y the token that follows each of x"
            raise PluginFailed(f"data set {name}: {part}: got {got}, allowed {allowed}")
        if x.size and not (x.min() >= 0 and x.max() < arrays.num_classes):
            got = f"tokens {x.min()} to {x.max()} in x"
            allowed = f"0 to {arrays.num_classes - 1}: those that are predicted, in y, are the vocabulary"
            raise PluginFailed(f"data set {name}: {part}: got {got}, allowed {allowed}")
    dtype = np.uint8 if arrays.num_classes <= BYTE else np.int32
    found = {}
    for part in PARTS:
        chosen = slice(None) if part == "train" else evenly_chosen(len(getattr(arrays, f"{part}_y")), context)
        for axis in "xy":
            found[f"{part}_{axis}"] = getattr(arrays, f"{part}_{axis}")[chosen].astype(dtype)
    return MappingProxyType(found)


class _Examples:
    """Examples as a key: the same mapping is the same key."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.arrays = arrays

    def __hash__(self) -> int:
        return id(self.arrays)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Examples) and self.arrays is other.arrays


@lru_cache(maxsize=4)
def _read_as_int64(examples: _Examples) -> Mapping[str, np.ndarray]:
    return MappingProxyType(
        {name: a.astype(np.int64) if name.endswith("_x") else a for name, a in examples.arrays.items()}
    )
