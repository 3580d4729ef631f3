"""Multi-layer perceptron in the standard and in the maximal update parametrization.

standard: weights N(0, 1/fan_in), biases 0.

mup (Yang and Hu, arXiv 2203.03466, table 8, with an output multiplier), m = fan_in / BASE_WIDTH of a layer that reads
a hidden one:
    weights N(0, 1/fan_in), but output weights N(0, 1/BASE_WIDTH) with the output times 1/m; biases 0
    adam, adamw: rate x 1/m for hidden weights, x 1 for the rest
    sgd: rate x width/BASE_WIDTH for input weights and hidden biases, x fan_out/fan_in for hidden weights, x m for
        output weights, x 1 for output biases
At width BASE_WIDTH it is the standard parametrization, so that rates of the two can be compared.
"""

import itertools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from schemas.workloads import MLP as MLPSpec
from workers.science.models.dropout import dropout

BASE_WIDTH = 64

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "gelu": torch.nn.functional.gelu,
    "identity": lambda inputs: inputs,
}


class MLP:
    """Layers `weight_i` [out, in] and `bias_i` [out]; the activation, then dropout, after each but the last."""

    def __init__(self, spec: MLPSpec, input_shape: tuple[int, ...], num_classes: int) -> None:
        widths = (math.prod(input_shape), *spec.widths, num_classes)
        self._fans = list(itertools.pairwise(widths))
        self._activation = ACTIVATIONS[spec.activation]
        self._mup = spec.parametrization == "mup"
        self._dropout = spec.dropout

    @property
    def activations(self) -> int:
        """Values of the widest hidden layer, of one example."""
        return max(fan_out for _, fan_out in self._fans[:-1])

    def init(self, generator: torch.Generator, dtype: torch.dtype) -> dict[str, Tensor]:
        """One trial's parameters, drawn in float64 in layer order: the same draw in every dtype."""
        params = {}
        for layer, (fan_in, fan_out) in enumerate(self._fans):
            draw = torch.randn(fan_out, fan_in, generator=generator, dtype=torch.float64)
            params[f"weight_{layer}"] = (draw * self._scale(layer)).to(dtype)
            params[f"bias_{layer}"] = torch.zeros(fan_out, dtype=dtype)
        return params

    def apply(self, params: dict[str, Tensor], inputs: Tensor, key: Tensor | None = None) -> Tensor:
        """Outputs [B, C] for inputs [B, ...]."""
        hidden = inputs.flatten(1)
        last = len(self._fans) - 1
        for layer in range(last):
            hidden = self._activation(_linear(hidden, params, layer))
            hidden = dropout(hidden, self._dropout, key, layer)
        if self._mup:
            hidden = hidden * (1 / self._growth(last))
        return _linear(hidden, params, last)

    def lr_multipliers(self, optimizer_kind: str) -> dict[str, float]:
        """Factor on the learning rate by parameter name."""
        factors = {}
        for layer in range(len(self._fans)):
            weight, bias = self._multipliers(layer, optimizer_kind == "sgd") if self._mup else (1.0, 1.0)
            factors[f"weight_{layer}"], factors[f"bias_{layer}"] = weight, bias
        return factors

    def _multipliers(self, layer: int, is_sgd: bool) -> tuple[float, float]:
        """The factors of a layer's weight and bias in mup."""
        is_last = layer == len(self._fans) - 1
        reads_hidden = layer > 0
        width_growth = 1.0 if is_last else self._fans[layer][1] / BASE_WIDTH
        if is_sgd:
            return (self._growth(layer) if is_last else width_growth / self._growth(layer)), width_growth
        return (1 / self._growth(layer) if reads_hidden and not is_last else 1.0), 1.0

    def _scale(self, layer: int) -> float:
        """Standard deviation of a layer's weights."""
        fan_in = self._fans[layer][0]
        if self._mup and layer == len(self._fans) - 1:
            return math.sqrt(self._growth(layer) / fan_in)
        return 1 / math.sqrt(fan_in)

    def _growth(self, layer: int) -> float:
        """How much wider than at the base width a layer's input is; 1 for the layer that reads the data."""
        return self._fans[layer][0] / BASE_WIDTH if layer > 0 else 1.0


def _linear(inputs: Tensor, params: dict[str, Tensor], layer: int) -> Tensor:
    return torch.nn.functional.linear(inputs, params[f"weight_{layer}"], params[f"bias_{layer}"])
