"""A data set as arrays, and as tensors that sit once on the device."""

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

Inputs = NDArray[np.float32] | NDArray[np.uint8]
Targets = NDArray[np.int64] | NDArray[np.uint8]


@dataclass(frozen=True)
class DataArrays:
    """Inputs float32 [n, ...] and class labels int64 [n] of the three parts; of a text, tokens uint8 [n, T] of n
    windows and, at each position, the token that follows it.
    """

    train_x: Inputs
    train_y: Targets
    validation_x: Inputs
    validation_y: Targets
    test_x: Inputs
    test_y: Targets
    num_classes: int
    sha256: str


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


def to_device(arrays: DataArrays, dtype: torch.dtype, device: torch.device, *, most: int | None = None) -> DeviceData:
    """All parts in the parameters' dtype on `device`; of each, the first `most` examples."""

    def part(inputs: Inputs, targets: Targets) -> Examples:
        return Examples(tensor(inputs[:most]), tensor(targets[:most]))

    def tensor(array: NDArray[Any]) -> Tensor:
        # a copy: the arrays may be read-only, shared between the processes of a node; whole numbers, as tokens and
        # labels are, stay what they are
        return torch.tensor(array, dtype=dtype if array.dtype.kind == "f" else None, device=device)

    train = part(arrays.train_x, arrays.train_y)
    return DeviceData(
        train=train,
        train_evaluation=train.take(train_evaluation_index(*train.targets.shape).to(device)),
        validation=part(arrays.validation_x, arrays.validation_y),
        test=part(arrays.test_x, arrays.test_y),
        num_classes=arrays.num_classes,
        sha256=arrays.sha256,
    )


def train_evaluation_index(num_train: int, context: int | None = None) -> Tensor:
    """The training examples that are evaluated on: the first 1,024 of a fixed permutation, or all; of windows of
    `context` tokens, as many as hold 16,384.
    """
    order = torch.randperm(num_train, generator=generator(0, "train_evaluation"))
    return order[: TRAIN_EVALUATION_EXAMPLES if context is None else max(1, TRAIN_EVALUATION_TOKENS // context)]
