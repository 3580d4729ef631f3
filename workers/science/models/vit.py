"""Vision transformer (Dosovitskiy et al., arXiv 2010.11929), LayerNorm before each sublayer.

Patches of pixels through one linear layer, plus learned positions; per block x + attention(norm(x)), then
x + network(norm(x)), the network four times as wide with GELU between; norm, mean over the patches instead of a class
token (Beyer et al., arXiv 2205.01580), linear layer.

Attention is written out, softmax(q k' / sqrt(d)) v: torch's fused kernels have no second derivative, and with one way
for training and probes nothing that is measured differs from what is trained.

Start: weights N(0, 1/fan_in), positions N(0, 0.02^2), scales 1, shifts and biases 0.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import gelu, linear

from schemas.images import image_shape
from schemas.workloads import ViT as ViTSpec
from workers.science.models.dropout import dropout

POSITION_STD = 0.02
NORM_EPSILON = 1e-5


class ViT:
    """Linear layers `NAME_weight` [out, in], `NAME_bias`; norms `NAME_scale`, `NAME_shift`; `positions` [T, D]."""

    def __init__(self, spec: ViTSpec, input_shape: tuple[int, ...], num_classes: int) -> None:
        self._image = image_shape(input_shape)
        channels, height, width = self._image
        if height % spec.patch or width % spec.patch:
            raise ValueError(f"model.patch: got {spec.patch}, allowed a divisor of {height} and {width}")
        self._patch, self._width, self._heads = spec.patch, spec.width, spec.heads
        self._rows, self._columns = height // spec.patch, width // spec.patch
        self._dropout = spec.dropout
        self._blocks = [f"block_{index}" for index in range(spec.depth)]
        self._embed = ("embed", channels * spec.patch**2, spec.width)
        self._head = ("head", spec.width, num_classes)

    @property
    def activations(self) -> int:
        """Values of the widest layer, of one example."""
        patches = self._rows * self._columns
        return patches * max(4 * self._width, self._heads * patches)

    def init(self, generator: torch.Generator, dtype: torch.dtype) -> dict[str, Tensor]:
        """One trial's parameters, drawn in float64 in layer order: the same draw in every dtype."""
        params: dict[str, Tensor] = {}

        def draw(*shape: int, std: float) -> Tensor:
            return (torch.randn(*shape, generator=generator, dtype=torch.float64) * std).to(dtype)

        def add_linear(name: str, fan_in: int, fan_out: int) -> None:
            params[f"{name}_weight"] = draw(fan_out, fan_in, std=1 / math.sqrt(fan_in))
            params[f"{name}_bias"] = torch.zeros(fan_out, dtype=dtype)

        def add_norm(name: str) -> None:
            params[f"{name}_scale"] = torch.ones(self._width, dtype=dtype)
            params[f"{name}_shift"] = torch.zeros(self._width, dtype=dtype)

        add_linear(*self._embed)
        params["positions"] = draw(self._rows * self._columns, self._width, std=POSITION_STD)
        for block in self._blocks:
            add_norm(f"{block}_attention_norm")
            for part in ("query", "key", "value", "mix"):
                add_linear(f"{block}_{part}", self._width, self._width)
            add_norm(f"{block}_network_norm")
            add_linear(f"{block}_wide", self._width, 4 * self._width)
            add_linear(f"{block}_narrow", 4 * self._width, self._width)
        add_norm("norm")
        add_linear(*self._head)
        return params

    def apply(self, params: dict[str, Tensor], inputs: Tensor, key: Tensor | None = None) -> Tensor:
        """Outputs [B, C] for images [B, channels, height, width], or flat."""
        hidden_BTD = _linear(params, "embed", self._patches(inputs)) + params["positions"]
        for index, block in enumerate(self._blocks):
            mixed = self._attention(params, block, _norm(params, f"{block}_attention_norm", hidden_BTD))
            hidden_BTD = hidden_BTD + dropout(mixed, self._dropout, key, 2 * index)
            wide = gelu(_linear(params, f"{block}_wide", _norm(params, f"{block}_network_norm", hidden_BTD)))
            narrow = _linear(params, f"{block}_narrow", wide)
            hidden_BTD = hidden_BTD + dropout(narrow, self._dropout, key, 2 * index + 1)
        return _linear(params, "head", _norm(params, "norm", hidden_BTD).mean(1))

    def lr_multipliers(self, _optimizer_kind: str) -> dict[str, float]:
        """All 1: the standard parametrization."""
        return dict.fromkeys(self.init(torch.Generator(), torch.float32), 1.0)

    def _patches(self, inputs: Tensor) -> Tensor:
        """[B, T, channels x patch x patch], row by row."""
        channels, side = self._image[0], self._patch
        tiles = inputs.reshape(-1, channels, self._rows, side, self._columns, side).permute(0, 2, 4, 1, 3, 5)
        return tiles.reshape(-1, self._rows * self._columns, channels * side * side)

    def _attention(self, params: dict[str, Tensor], block: str, hidden_BTD: Tensor) -> Tensor:
        query, key, value = (
            self._split(_linear(params, f"{block}_{part}", hidden_BTD)) for part in ("query", "key", "value")
        )
        scores_BHTT = (query * (1 / math.sqrt(query.shape[-1]))) @ key.transpose(-1, -2)
        mixed_BHTd = torch.softmax(scores_BHTT, dim=-1) @ value
        return _linear(params, f"{block}_mix", mixed_BHTd.transpose(1, 2).reshape(hidden_BTD.shape))

    def _split(self, hidden_BTD: Tensor) -> Tensor:
        """[B, heads, T, D / heads]."""
        num, patches, width = hidden_BTD.shape
        return hidden_BTD.view(num, patches, self._heads, width // self._heads).transpose(1, 2)


def _linear(params: dict[str, Tensor], name: str, inputs: Tensor) -> Tensor:
    return linear(inputs, params[f"{name}_weight"], params[f"{name}_bias"])


def _norm(params: dict[str, Tensor], name: str, inputs: Tensor) -> Tensor:
    # Not torch's layer_norm: its second derivatives are wrong where a vmap runs over the tangents alone (torch 2.13,
    # torch.func.hessian). These operations are right in every way of taking them.
    variance, mean = torch.var_mean(inputs, dim=-1, correction=0, keepdim=True)
    return (inputs - mean) * torch.rsqrt(variance + NORM_EPSILON) * params[f"{name}_scale"] + params[f"{name}_shift"]
