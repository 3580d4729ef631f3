"""Parameters of a network, and the multiply-adds of one example through it, counted from its spec alone."""

from dataclasses import dataclass
from itertools import pairwise
from math import prod

from schemas.images import image_shape
from schemas.workloads import GPT, MLP, Model, ResNet, TextModel


@dataclass(frozen=True)
class Counts:
    """What one example meets on its way forward."""

    parameters: int = 0
    multiply_adds: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.parameters + other.parameters, self.multiply_adds + other.multiply_adds)

    def __mul__(self, times: int) -> "Counts":
        return Counts(self.parameters * times, self.multiply_adds * times)


def counts(model: Model | TextModel, input_shape: tuple[int, ...], num_classes: int) -> Counts:
    """Of a classifier, or of a language model, whose example is a window and whose classes are the vocabulary.

    Raises:
        ValueError: the model takes images and the examples are none.
    """
    if isinstance(model, GPT):
        return _gpt(model, num_classes)
    if isinstance(model, MLP):
        widths = (prod(input_shape), *model.widths, num_classes)
        return sum((_linear(*fans) for fans in pairwise(widths)), Counts())
    channels, height, width = image_shape(input_shape)
    if isinstance(model, ResNet):
        return _resnet(model, channels, height, width, num_classes)
    patches = (height // model.patch) * (width // model.patch)
    inputs = _linear(channels * model.patch**2, model.width, patches)
    tables = Counts(model.width * (patches + 2))  # positions and the last norm
    return inputs + _vit_block(model.width, patches) * model.depth + tables + _linear(model.width, num_classes)


def _resnet(model: ResNet, channels: int, height: int, width: int, num_classes: int) -> Counts:
    total = _conv(channels, model.width, 3, height, width)
    fan_in = model.width
    for stage in range(model.stages):
        fan_out = model.width * 2**stage
        for block in range((model.depth - 2) // (2 * model.stages)):
            if block == 0 and stage > 0:
                height, width = -(-height // 2), -(-width // 2)
            total += _conv(fan_in, fan_out, 3, height, width) + _conv(fan_out, fan_out, 3, height, width)
            if fan_in != fan_out:
                total += _conv(fan_in, fan_out, 1, height, width)
            fan_in = fan_out
    return total + _linear(fan_in, num_classes)


def _gpt(model: GPT, vocabulary: int) -> Counts:
    width = model.width
    block = 12 * width**2 + 13 * width  # attention 4 matrices and biases, the network 8 and 5, two norms
    tables = (vocabulary * (1 if model.weight_tying else 2) + model.context) * width
    parameters = model.layers * block + tables + (2 * width if model.last_norm else 0)
    attention = 2 * model.layers * width * model.context
    return Counts(parameters, (parameters + attention) * model.context)


def _conv(fan_in: int, fan_out: int, side: int, height: int, width: int) -> Counts:
    """With its norm, whose scale and shift are in the place of a bias."""
    weights = fan_in * fan_out * side**2
    return Counts(weights + 2 * fan_out, weights * height * width)


def _vit_block(width: int, patches: int) -> Counts:
    attention = _linear(width, width, patches) * 4 + Counts(0, 2 * patches**2 * width)
    network = _linear(width, 4 * width, patches) + _linear(4 * width, width, patches)
    return attention + network + Counts(4 * width)


def _linear(fan_in: int, fan_out: int, positions: int = 1) -> Counts:
    return Counts((fan_in + 1) * fan_out, (fan_in + 1) * fan_out * positions)
