"""A model of the user's own: a torch.nn.Module as a stateless function of named parameters."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.parameter import is_lazy

from schemas.plugins import PluginModel
from workers.plugins import PluginFailed, calling, load
from workers.science.own.streams import start_global_streams
from workers.science.streams import generator

WIDEST = 1024
"""Values of a hidden layer, of one example, that are reckoned with."""


class OwnModel:
    """Builds modules of one spec, and calls one of them, its template, with the parameters of any trial.

    As `workers.science.protocols.Model`: `apply` serves stacked trials, so it may be asked only where the inspection
    has found that buffers and frozen parameters do not hang on the seed and that no mode changes the outputs.
    """

    def __init__(self, spec: PluginModel, input_shape: tuple[int, ...], _num_classes: int) -> None:
        self.name = spec.name
        self._spec = spec
        self._input_shape = input_shape
        self._templates: dict[tuple[torch.dtype, torch.device], nn.Module] = {}
        self._shapes: dict[str, list[int]] | None = None

    def build(self, stream: torch.Generator, dtype: torch.dtype) -> nn.Module:
        """A new module in training mode, drawn from this stream: in torch's default dtype, then cast, so that it is the
        same draw in every dtype.

        Raises:
            PluginMissing. PluginFailed: it raises, gives no module, one with parameters that cannot be trained, or with
                others than when it was first called.
        """
        start_global_streams(stream.initial_seed())
        function = load("models", self.name).call
        with calling("models", self.name):
            module = function(**self._spec.options)
            if not isinstance(module, nn.Module):
                raise PluginFailed(f"model {self.name}: got {type(module).__name__}, allowed a torch.nn.Module")
            if any(is_lazy(parameter) for parameter in module.parameters()):
                with torch.no_grad():
                    module(torch.zeros(2, *self._input_shape))
        named = trainable(module)
        if not named:
            raise PluginFailed(f"model {self.name}: got no parameter that requires a gradient, allowed one at least")
        for name, parameter in named.items():
            if not parameter.is_floating_point():
                raise PluginFailed(f"model {self.name}: {name}: got {parameter.dtype}, allowed a real floating point")
        self._check_shapes({name: list(parameter.shape) for name, parameter in named.items()})
        return module.to(dtype).train()

    def _check_shapes(self, shapes: dict[str, list[int]]) -> None:
        first = self._shapes = self._shapes or shapes
        if shapes == first:
            return
        name = next(name for name in (*first, *shapes) if shapes.get(name) != first.get(name))
        got, allowed = (f"{name} {found[name]}" if name in found else f"no {name}" for found in (shapes, first))
        raise PluginFailed(f"model {self.name}: got {got} when it was called again, allowed {allowed}, as at first")

    def place(self, dtype: torch.dtype, device: torch.device) -> None:
        """Have a template of this dtype there: under vmap none can be built."""
        if (dtype, device) not in self._templates:
            self._templates[dtype, device] = self.build(generator(0, "layout"), dtype).to(device)

    def init(self, stream: torch.Generator, dtype: torch.dtype) -> dict[str, Tensor]:
        """One trial's parameters, on the CPU."""
        module = self.build(stream, dtype)
        return {name: parameter.detach().clone() for name, parameter in trainable(module).items()}

    def apply(self, params: dict[str, Tensor], inputs: Tensor, key: Tensor | None = None) -> Tensor:
        """Outputs of one trial for inputs [B, ...]; `key` is for models that draw, which are not asked here."""
        some = next(iter(params.values()))
        return call_module(self.name, self._template(some.dtype, some.device), params, inputs, some.dtype)

    @property
    def activations(self) -> int:
        """What is reckoned with where nothing can be counted."""
        return WIDEST

    def lr_multipliers(self, _optimizer_kind: str) -> dict[str, float]:
        """All 1: a parametrization of its own is the model's business."""
        return dict.fromkeys(trainable(self._template(torch.float32, torch.device("cpu"))), 1.0)

    def _template(self, dtype: torch.dtype, device: torch.device) -> nn.Module:
        self.place(dtype, device)
        return self._templates[dtype, device]


def trainable(module: nn.Module) -> dict[str, nn.Parameter]:
    """Its parameters that require a gradient, each once, in its order."""
    return {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}


def constants(module: nn.Module) -> dict[str, Tensor]:
    """Its buffers and its frozen parameters."""
    frozen = {name: p.detach() for name, p in module.named_parameters() if not p.requires_grad}
    return {**frozen, **{name: buffer.detach() for name, buffer in module.named_buffers()}}


def call_module(name: str, module: nn.Module, tensors: dict[str, Tensor], inputs: Tensor, dtype: torch.dtype) -> Tensor:
    """What it gives with these tensors in the place of its own; buffers that it changes are changed in `tensors`.

    Raises:
        PluginFailed: it raises, or gives something else than a row of `dtype` for each input (under autocast, of any).
    """
    of_dtype = "" if inputs.is_floating_point() else f" and {inputs.dtype}"
    with calling("models", name, f"inputs of shape {list(inputs.shape)}{of_dtype}"):
        outputs: Any = functional_call(module, tensors, (inputs,))
    if not isinstance(outputs, Tensor) or outputs.dim() < 1 or len(outputs) != len(inputs):
        got = f"shape {list(outputs.shape)}" if isinstance(outputs, Tensor) else type(outputs).__name__
        allowed = f"a tensor with one row for each of {len(inputs)} inputs"
        raise PluginFailed(f"model {name}: got outputs of {got}, allowed {allowed}")
    if outputs.dtype != dtype and not torch.is_autocast_enabled(inputs.device.type):
        raise PluginFailed(f"model {name}: got outputs of {outputs.dtype}, allowed {dtype}, as its parameters")
    return outputs


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """`eval()`, and each part's own mode back afterwards."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode


def described(module: nn.Module, name: str) -> str:
    """Of what vmap refuses, what a person knows by name: `BatchNorm in acme_net`; empty where it has none of it."""
    norm = nn.modules.batchnorm._NormBase
    drop = nn.modules.dropout._DropoutNd
    found: Mapping[str, bool] = {
        "BatchNorm": any(isinstance(part, norm) and part.track_running_stats for part in module.modules()),
        "dropout": any(isinstance(part, drop) and part.p > 0 for part in module.modules()),
    }
    return ", ".join(f"{what} in {name}" for what, is_there in found.items() if is_there)
