"""A data set as arrays, and as tensors that sit once on the device."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workers.science.streams import generator

TRAIN_EVALUATION_EXAMPLES = 1024
TRAIN_EVALUATION_TOKENS = 16_384
"""Of a text: as many as are evaluated on of its other parts."""

Inputs = NDArray[np.float32] | NDArray[np.int64] | NDArray[np.int32] | NDArray[np.uint8]
Targets = NDArray[np.int64] | NDArray[np.int32] | NDArray[np.uint8]


@dataclass(frozen=True)
class DataArrays:
    """Inputs float32 [n, ...] and class labels int64 [n] of the three parts; of a text, tokens [n, T] of n windows and,
    at each position, the token that follows it, uint8, or int32 where the vocabulary is larger.

    Images may be pixels uint8 [n, channels, height, width]: `pixels` normalises them on their way to the device.
    """

    train_x: Inputs
    train_y: Targets
    validation_x: Inputs
    validation_y: Targets
    test_x: Inputs
    test_y: Targets
    num_classes: int
    sha256: str
    pixels: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    """Mean and standard deviation by channel, in units of 255."""


@dataclass(frozen=True)
class Examples:
    """Inputs [n, ...] and labels [n], or [n, T], on the device."""

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, index: Tensor) -> "Examples":
        """The examples at `index` [m]."""
        return Examples(self.inputs.index_select(0, index), self.targets.index_select(0, index))


@dataclass(frozen=True)
class DeviceData:
    """The parts of a data set on the device; `train_evaluation` is a fixed part of `train`."""

    train: Examples
    train_evaluation: Examples
    validation: Examples
    test: Examples
    num_classes: int
    sha256: str
    """Of the set, and its subset where there is one."""


KEPT_SETS = 2
"""Sets that stay on the device when their pack is done: the packs of a process mostly train on the same one."""

_kept: OrderedDict[tuple[object, ...], tuple[DataArrays, DeviceData]] = OrderedDict()


def on_device(arrays: DataArrays, dtype: torch.dtype, device: torch.device, subset: int | None = None) -> DeviceData:
    """What `to_device` gives, made once for all packs of this process that read the same arrays."""
    parts = (arrays.train_x, arrays.validation_x, arrays.test_x)
    key = (*map(id, parts), dtype, device, subset)
    if key not in _kept:
        # the arrays are kept as well: while they live nothing else has their ids
        _kept[key] = (arrays, to_device(arrays, dtype, device, subset))
        if len(_kept) > KEPT_SETS:
            _kept.popitem(last=False)
    _kept.move_to_end(key)
    return _kept[key][1]


def to_device(
    arrays: DataArrays, dtype: torch.dtype, device: torch.device, subset: int | None = None, *, most: int | None = None
) -> DeviceData:
    """All parts in the parameters' dtype on `device`; of the training set only `subset` examples where it is given, of
    each part the first `most`.
    """

    def part(inputs: Inputs, targets: Targets) -> Examples:
        inputs, targets = inputs[:most], targets[:most]
        if arrays.pixels is not None:
            return Examples(_normalised(inputs, arrays.pixels, dtype, device), tensor(targets))
        return Examples(tensor(inputs), tensor(targets))

    def tensor(array: NDArray[Any]) -> Tensor:
        # a copy: the arrays may be read-only, shared between the processes of a node; whole numbers, as tokens and
        # labels are, stay what they are
        return torch.tensor(array, dtype=dtype if array.dtype.kind == "f" else None, device=device)

    train_x, train_y, sha256 = arrays.train_x, arrays.train_y, arrays.sha256
    if subset is not None:
        index = subset_index(len(train_y), subset).numpy()
        train_x, train_y, sha256 = train_x[index], train_y[index], f"{sha256}/{subset}"
    train = part(train_x, train_y)
    return DeviceData(
        train=train,
        train_evaluation=train.take(train_evaluation_index(len(train), _context(train.targets)).to(device)),
        validation=part(arrays.validation_x, arrays.validation_y),
        test=part(arrays.test_x, arrays.test_y),
        num_classes=arrays.num_classes,
        sha256=sha256,
    )


def _normalised(
    pixels: Inputs, statistics: tuple[tuple[float, ...], ...], dtype: torch.dtype, device: torch.device
) -> Tensor:
    mean_C11, std_C11 = (torch.tensor(values, dtype=dtype, device=device).view(-1, 1, 1) for values in statistics)
    return torch.tensor(pixels, device=device).to(dtype).div_(255.0).sub_(mean_C11).div_(std_C11)


def subset_index(num_train: int, subset: int) -> Tensor:
    """The first `subset` training examples of a fixed permutation: a smaller subset is a part of each larger one."""
    return torch.randperm(num_train, generator=generator(0, "subset"))[:subset]


def _context(targets: Tensor) -> int | None:
    """Tokens in a window of a text; None for anything else."""
    return targets.shape[1] if targets.dtype in (torch.uint8, torch.int32) and targets.ndim > 1 else None


def train_evaluation_index(num_train: int, context: int | None = None) -> Tensor:
    """The training examples that are evaluated on: the first 1,024 of a fixed permutation, or all; of windows of
    `context` tokens, as many as hold 16,384.
    """
    order = torch.randperm(num_train, generator=generator(0, "train_evaluation"))
    return order[: TRAIN_EVALUATION_EXAMPLES if context is None else max(1, TRAIN_EVALUATION_TOKENS // context)]
