"""A decoder-only transformer over characters: nanoGPT's, with its LayerNorms where the spec wants them.

    x = token + position
    pre:  x = x + attention(norm(x)), x = x + mlp(norm(x))       (GPT-2; Radford et al. 2019)
    post: x = norm(x + attention(x)), x = norm(x + mlp(x))       (Vaswani et al., arXiv 1706.03762)
    outputs = norm(x) head^T, without that norm where `last_norm` is false

Start (GPT-2, as in nanoGPT): weights N(0, 0.02), those that write to the residual stream N(0, 0.02 / sqrt(2 layers));
biases 0, norms 1 and 0. Tied weights: the head is the token embedding. Dropout stands where nanoGPT has it: after the
embeddings, on the attention weights, and on what each sublayer adds to the residual stream.

Attention is written out: the fused kernels have no second derivative and no forward mode, which curvature needs, and
gradients that are compared along a step should come from one kernel. Tokens are looked up by a product with their
one-hot rows: an indexing's gradient is a scatter, which on CUDA adds in no fixed order; for a vocabulary of a hundred
characters it is no dearer.
"""

import math

import torch
from torch import Tensor
from torch.nn.functional import layer_norm, linear

from schemas.workloads import GPT as GPTSpec
from workers.science.models.dropout import dropout
from workers.science.models.mlp import ACTIVATIONS

INIT_STD = 0.02
MLP_RATIO = 4
NORM_EPSILON = 1e-5

# B windows, T positions, D width, H heads, K = D / H, V vocabulary


class GPT:
    """Named parameters, block by block: `block_i.query_key_value.weight` [3 D, D] and so on."""

    def __init__(self, spec: GPTSpec, input_shape: tuple[int, ...], num_classes: int) -> None:
        assert input_shape == (spec.context,)
        self._spec = spec
        self._vocabulary = num_classes
        self._activation = ACTIVATIONS[spec.activation]

    @property
    def activations(self) -> int:
        """Values of the widest hidden layer, of one window: the network's, or the attention scores."""
        spec = self._spec
        return spec.context * max(4 * spec.width, spec.heads * spec.context)

    def init(self, generator: torch.Generator, dtype: torch.dtype) -> dict[str, Tensor]:
        """One trial's parameters, drawn in float64 in the order of use: the same draw in every dtype."""
        params = {}
        for name, (shape, std) in self._shapes().items():
            if std is None:
                start = torch.ones(shape) if name.endswith("norm.weight") else torch.zeros(shape)
            else:
                start = torch.randn(shape, generator=generator, dtype=torch.float64) * std
            params[name] = start.to(dtype)
        return params

    def apply(self, params: dict[str, Tensor], inputs: Tensor, key: Tensor | None = None) -> Tensor:
        """Outputs [B, T, V] for tokens [B, T], whole numbers below V; T at most the context."""
        token_VD = params["token_embedding"]
        vocabulary_V = torch.arange(self._vocabulary, device=inputs.device)
        one_hot_BTV = (inputs.unsqueeze(-1) == vocabulary_V).to(token_VD.dtype)
        x_BTD = one_hot_BTV @ token_VD + params["position_embedding"][: inputs.shape[-1]]
        x_BTD = dropout(x_BTD, self._spec.dropout, key, 0)
        for block in range(self._spec.layers):
            x_BTD = self._block(params, block, x_BTD, key)
        if self._spec.last_norm:
            x_BTD = _norm(params, "last_norm", x_BTD)
        return linear(x_BTD, token_VD if self._spec.weight_tying else params["head"])

    def lr_multipliers(self, optimizer_kind: str) -> dict[str, float]:
        """All 1: the standard parametrization."""
        return dict.fromkeys(self._shapes(), 1.0)

    def _block(self, params: dict[str, Tensor], block: int, x_BTD: Tensor, key: Tensor | None) -> Tensor:
        first, second = f"block_{block}.attention_norm", f"block_{block}.mlp_norm"
        if self._spec.norm == "pre":
            x_BTD = x_BTD + self._attention(params, block, _norm(params, first, x_BTD), key)
            return x_BTD + self._mlp(params, block, _norm(params, second, x_BTD), key)
        x_BTD = _norm(params, first, x_BTD + self._attention(params, block, x_BTD, key))
        return _norm(params, second, x_BTD + self._mlp(params, block, x_BTD, key))

    def _attention(self, params: dict[str, Tensor], block: int, x_BTD: Tensor, key: Tensor | None) -> Tensor:
        num_windows, length, width = x_BTD.shape
        heads = self._spec.heads
        mixed = _linear(params, f"block_{block}.query_key_value", x_BTD)
        mixed = mixed.view(num_windows, length, 3, heads, width // heads)
        query_BHTK, key_BHTK, value_BHTK = mixed.permute(2, 0, 3, 1, 4).unbind(0)
        scores_BHTT = (query_BHTK * (1 / math.sqrt(width // heads))) @ key_BHTK.transpose(-2, -1)
        # added, not filled in: half the time on a CPU, and nothing to do on the way back
        later_TT = torch.full((length, length), -math.inf, dtype=x_BTD.dtype, device=x_BTD.device).triu(1)
        weights_BHTT = torch.softmax(scores_BHTT + later_TT, dim=-1)
        weights_BHTT = dropout(weights_BHTT, self._spec.dropout, key, 3 * block + 1)
        read_BTD = (weights_BHTT @ value_BHTK).transpose(1, 2).reshape(num_windows, length, width)
        return dropout(_linear(params, f"block_{block}.projection", read_BTD), self._spec.dropout, key, 3 * block + 2)

    def _mlp(self, params: dict[str, Tensor], block: int, x_BTD: Tensor, key: Tensor | None) -> Tensor:
        hidden = self._activation(_linear(params, f"block_{block}.expand", x_BTD))
        return dropout(_linear(params, f"block_{block}.contract", hidden), self._spec.dropout, key, 3 * block + 3)

    def _shapes(self) -> dict[str, tuple[tuple[int, ...], float | None]]:
        """Name -> shape, and the standard deviation of its start; None: a constant."""
        spec, width = self._spec, self._spec.width
        residual_std = INIT_STD / math.sqrt(2 * spec.layers)
        shapes: dict[str, tuple[tuple[int, ...], float | None]] = {
            "token_embedding": ((self._vocabulary, width), INIT_STD),
            "position_embedding": ((spec.context, width), INIT_STD),
        }
        for block in (f"block_{number}" for number in range(spec.layers)):
            shapes |= _norm_shapes(f"{block}.attention_norm", width)
            shapes |= _linear_shapes(f"{block}.query_key_value", 3 * width, width, INIT_STD)
            shapes |= _linear_shapes(f"{block}.projection", width, width, residual_std)
            shapes |= _norm_shapes(f"{block}.mlp_norm", width)
            shapes |= _linear_shapes(f"{block}.expand", MLP_RATIO * width, width, INIT_STD)
            shapes |= _linear_shapes(f"{block}.contract", width, MLP_RATIO * width, residual_std)
        if spec.last_norm:
            shapes |= _norm_shapes("last_norm", width)
        if not spec.weight_tying:
            shapes["head"] = ((self._vocabulary, width), INIT_STD)
        return shapes


def _linear(params: dict[str, Tensor], name: str, inputs: Tensor) -> Tensor:
    return linear(inputs, params[f"{name}.weight"], params[f"{name}.bias"])


def _norm(params: dict[str, Tensor], name: str, inputs: Tensor) -> Tensor:
    return layer_norm(inputs, inputs.shape[-1:], params[f"{name}.weight"], params[f"{name}.bias"], NORM_EPSILON)


def _linear_shapes(name: str, fan_out: int, fan_in: int, std: float) -> dict[str, tuple[tuple[int, ...], float | None]]:
    return {f"{name}.weight": ((fan_out, fan_in), std), f"{name}.bias": ((fan_out,), None)}


def _norm_shapes(name: str, width: int) -> dict[str, tuple[tuple[int, ...], float | None]]:
    return {f"{name}.weight": ((width,), None), f"{name}.bias": ((width,), None)}
