"""Residual network of basic blocks (He et al., arXiv 1512.03385) with GroupNorm (Wu and He, arXiv 1803.08494).

Stem: 3x3 convolution, norm, ReLU. Block: 3x3 convolution, norm, ReLU, 3x3 convolution, norm, plus the block's input,
ReLU; the first block of each stage but the first halves the side, and its input passes a 1x1 convolution and a norm of
its own. Then the mean over the image and a linear layer. Never BatchNorm: it ties the examples of a batch together, and
then a batch's Hessian is not the mean of its examples'.

Dropout stands between the two convolutions of a block (Zagoruyko and Komodakis, arXiv 1605.07146).

Start: convolutions N(0, 2/fan_in), the linear layer N(0, 1/fan_in), scales 1, shifts and biases 0.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import conv2d, group_norm, linear

from schemas.images import image_shape
from schemas.workloads import ResNet as ResNetSpec
from workers.science.models.dropout import dropout


@dataclass(frozen=True)
class _Conv:
    """A convolution and the norm after it: `NAME_weight` [out, in, side, side], `NAME_scale` and `NAME_shift` [out]."""

    name: str
    fan_in: int
    fan_out: int
    side: int
    stride: int


@dataclass(frozen=True)
class _Block:
    first: _Conv
    second: _Conv
    shortcut: _Conv | None


class ResNet:
    """Parameters in the order in which the input meets them; a shortcut after the convolutions beside it."""

    def __init__(self, spec: ResNetSpec, input_shape: tuple[int, ...], num_classes: int) -> None:
        self._image = image_shape(input_shape)
        self._groups = spec.groups
        self._dropout = spec.dropout
        self._stem = _Conv("stem", self._image[0], spec.width, 3, 1)
        self._blocks = _blocks(spec)
        self._features = self._blocks[-1].second.fan_out
        self._num_classes = num_classes

    @property
    def activations(self) -> int:
        """Values of the widest layer, of one example."""
        return self._stem.fan_out * self._image[1] * self._image[2]

    def init(self, generator: torch.Generator, dtype: torch.dtype) -> dict[str, Tensor]:
        """One trial's parameters, drawn in float64 in layer order: the same draw in every dtype."""
        params = {}
        for conv in self._convs():
            shape = (conv.fan_out, conv.fan_in, conv.side, conv.side)
            draw = torch.randn(shape, generator=generator, dtype=torch.float64)
            params[f"{conv.name}_weight"] = (draw * math.sqrt(2 / math.prod(shape[1:]))).to(dtype)
            params[f"{conv.name}_scale"] = torch.ones(conv.fan_out, dtype=dtype)
            params[f"{conv.name}_shift"] = torch.zeros(conv.fan_out, dtype=dtype)
        draw = torch.randn(self._num_classes, self._features, generator=generator, dtype=torch.float64)
        params["head_weight"] = (draw / math.sqrt(self._features)).to(dtype)
        params["head_bias"] = torch.zeros(self._num_classes, dtype=dtype)
        return params

    def apply(self, params: dict[str, Tensor], inputs: Tensor, key: Tensor | None = None) -> Tensor:
        """Outputs [B, C] for images [B, channels, height, width], or flat."""
        hidden = torch.relu(self._conv(params, self._stem, inputs.reshape(-1, *self._image)))
        for index, block in enumerate(self._blocks):
            inner = dropout(torch.relu(self._conv(params, block.first, hidden)), self._dropout, key, index)
            residual = self._conv(params, block.second, inner)
            carried = hidden if block.shortcut is None else self._conv(params, block.shortcut, hidden)
            hidden = torch.relu(residual + carried)
        return linear(hidden.mean((2, 3)), params["head_weight"], params["head_bias"])

    def lr_multipliers(self, _optimizer_kind: str) -> dict[str, float]:
        """All 1: the standard parametrization."""
        names = [f"{conv.name}_{part}" for conv in self._convs() for part in ("weight", "scale", "shift")]
        return dict.fromkeys([*names, "head_weight", "head_bias"], 1.0)

    def _convs(self) -> list[_Conv]:
        inner = [conv for block in self._blocks for conv in (block.first, block.second, block.shortcut) if conv]
        return [self._stem, *inner]

    def _conv(self, params: dict[str, Tensor], conv: _Conv, inputs: Tensor) -> Tensor:
        hidden = conv2d(inputs, params[f"{conv.name}_weight"], stride=conv.stride, padding=conv.side // 2)
        return group_norm(hidden, self._groups, params[f"{conv.name}_scale"], params[f"{conv.name}_shift"])


def _blocks(spec: ResNetSpec) -> list[_Block]:
    blocks, fan_in = [], spec.width
    for stage in range(spec.stages):
        fan_out = spec.width * 2**stage
        for index in range((spec.depth - 2) // (2 * spec.stages)):
            name, stride = f"stage_{stage}_block_{index}", 2 if stage > 0 and index == 0 else 1
            shortcut = _Conv(f"{name}_shortcut", fan_in, fan_out, 1, stride) if fan_in != fan_out else None
            first, second = (
                _Conv(f"{name}_first", fan_in, fan_out, 3, stride),
                _Conv(f"{name}_second", fan_out, fan_out, 3, 1),
            )
            blocks.append(_Block(first, second, shortcut))
            fan_in = fan_out
    return blocks
