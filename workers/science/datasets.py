"""A data set as arrays, and as tensors that sit once on the device."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workers.science.streams import generator

TRAIN_EVALUATION_EXAMPLES = 1024


@dataclass(frozen=True)
class DataArrays:
    """Inputs float32 [n, ...] and class labels int64 [n] of the three parts."""

    train_x: NDArray[np.float32]
    train_y: NDArray[np.int64]
    validation_x: NDArray[np.float32]
    validation_y: NDArray[np.int64]
    test_x: NDArray[np.float32]
    test_y: NDArray[np.int64]
    num_classes: int
    sha256: str


@dataclass(frozen=True)
class Examples:
    """Inputs [n, ...] and labels [n] on the device."""

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


def to_device(arrays: DataArrays, dtype: torch.dtype, device: torch.device) -> DeviceData:
    """All parts in the parameters' dtype on `device`."""

    def part(inputs: NDArray[np.float32], targets: NDArray[np.int64]) -> Examples:
        # a copy: the arrays may be read-only, shared between the processes of a node
        return Examples(torch.tensor(inputs, dtype=dtype, device=device), torch.tensor(targets, device=device))

    train = part(arrays.train_x, arrays.train_y)
    return DeviceData(
        train=train,
        train_evaluation=train.take(train_evaluation_index(len(train)).to(device)),
        validation=part(arrays.validation_x, arrays.validation_y),
        test=part(arrays.test_x, arrays.test_y),
        num_classes=arrays.num_classes,
        sha256=arrays.sha256,
    )


def train_evaluation_index(num_train: int) -> Tensor:
    """The training examples that are evaluated on: the first 1,024 of a fixed permutation, or all."""
    order = torch.randperm(num_train, generator=generator(0, "train_evaluation"))
    return order[:TRAIN_EVALUATION_EXAMPLES]
