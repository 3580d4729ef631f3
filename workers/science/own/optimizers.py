"""An optimizer of torch's or of the user's own: a `torch.optim.Optimizer` that moves the one trial of a pack."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from schemas.plugins import PluginOptimizer
from workers.plugins import PluginFailed, calling, load
from workers.science.parameters import Layout
from workers.science.protocols import State

FIRST_RATE = 1e-3
"""What it is made with, and never steps at: some refuse to be made with 0."""
STRUCTURE = "structure"
TENSOR = "tensor"
PLAIN = (bool, int, float, str, type(None))


class TorchOptimizer:
    """As `workers.science.protocols.Optimizer`, for a pack of one slot.

    The parameters are handed over under their own shapes; the rate is written into every group before each step, as a
    number (one wait for the device a step), and what is recorded is what then stands there.
    """

    def __init__(self, spec: PluginOptimizer, layout: Layout) -> None:
        self.name = spec.name
        self._spec = spec
        self._layout = layout
        self._params: list[torch.nn.Parameter] = []
        self._optimizer: Any = None

    def init(self, params_NP: Tensor) -> State:
        """The rate alone; what the optimizer keeps is its own (`export`)."""
        (params_P,) = params_NP
        named = self._layout.unflatten(params_P)
        self._params = [torch.nn.Parameter(tensor.detach().clone()) for tensor in named.values()]
        function = load("optimizers", self.name).call
        with calling("optimizers", self.name):
            self._optimizer = function(self._params, lr=FIRST_RATE, **self._spec.options)
        if not isinstance(self._optimizer, torch.optim.Optimizer):
            got = type(self._optimizer).__name__
            raise PluginFailed(f"optimizer {self.name}: got {got}, allowed a torch.optim.Optimizer")
        return {"lr": torch.zeros(1, dtype=torch.float64, device=params_NP.device)}

    def coefficients(self, state: State) -> tuple[Tensor, ...]:
        """Nothing: the optimizer reads the rate from its groups."""
        rate = float(state["lr"])
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        return ()

    def update(
        self, grads_NP: Tensor, state: State, params_NP: Tensor, coefficients: Sequence[Tensor], out_NP: Tensor
    ) -> None:
        """out = what a step of the optimizer adds to the parameters."""
        (params_P,), (grads_P,) = params_NP, grads_NP
        parts = self._parts(params_P)
        for own, now, grad in zip(self._params, parts, self._parts(grads_P), strict=True):
            own.data.copy_(now)
            own.grad = grad.clone()
        with calling("optimizers", self.name):
            self._optimizer.step()
        self._check_forms(parts)
        moved_P = torch.cat([own.detach().reshape(-1) for own in self._params])
        torch.sub(moved_P, params_P, out=out_NP[0])
        for group in self._optimizer.param_groups:
            if float(group["lr"]) != float(state["lr"]):
                raise PluginFailed(f"optimizer {self.name}: it changes its own lr; the rate is the schedule's")

    def evaluation_point(self, state: State, params_NP: Tensor) -> Tensor:
        """The parameters: one that averages by itself is evaluated where its gradients are taken."""
        return params_NP

    def preconditioner(self, state: State) -> Tensor | None:
        """Not known."""
        raise PluginFailed(f"optimizer {self.name}: its preconditioner is not known")

    def stability_threshold(self, lr_N: Tensor) -> Tensor:
        """Not known: NaN."""
        return torch.full_like(lr_N, torch.nan)

    def export(self) -> State:
        """What it keeps, for a checkpoint: its tensors, and the rest as JSON in bytes.

        Raises:
            PluginFailed: it keeps something else, which no checkpoint holds.
        """
        with calling("optimizers", self.name):
            said = self._optimizer.state_dict()
        groups = [{name: value for name, value in group.items() if name != "params"} for group in said["param_groups"]]
        tensors: dict[str, Tensor] = {}
        structure = self._plain({"state": said["state"], "groups": groups}, "", tensors)
        text = torch.frombuffer(bytearray(json.dumps(structure).encode()), dtype=torch.uint8)
        return {STRUCTURE: text, **tensors}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Puts back what `export` gave."""
        structure = json.loads(bytes(state[STRUCTURE].cpu().tolist()))
        with calling("optimizers", self.name):
            kept = self._optimizer.state_dict()
        found = _filled(structure, state)
        for group, values in zip(kept["param_groups"], found["groups"], strict=True):
            group.update(values)
        moments = {int(key): value for key, value in found["state"].items()}
        with calling("optimizers", self.name):
            self._optimizer.load_state_dict({"state": moments, "param_groups": kept["param_groups"]})
        for (
            key,
            values,
        ) in moments.items():  # loading casts to the parameters' dtype; what it kept is put back as it was
            self._optimizer.state[self._params[key]] = values

    def _check_forms(self, parts: Sequence[Tensor]) -> None:
        for own, part in zip(self._params, parts, strict=True):
            if own.shape != part.shape or own.dtype != part.dtype:
                got, allowed = (f"{tensor.dtype} of shape {list(tensor.shape)}" for tensor in (own, part))
                raise PluginFailed(f"optimizer {self.name}: got a parameter of {got}, allowed {allowed}, as it was")

    def _parts(self, vector_P: Tensor) -> list[Tensor]:
        return list(self._layout.unflatten(vector_P).values())

    def _plain(self, value: Any, where: str, tensors: dict[str, Tensor]) -> Any:
        if isinstance(value, Tensor):
            tensors[f"{TENSOR}.{where}"] = value.detach().clone()
            return {"$": "tensor", "at": f"{TENSOR}.{where}"}
        if isinstance(value, Mapping):
            items = {str(key): self._plain(item, f"{where}/{key}", tensors) for key, item in value.items()}
            return {"$": "dict", "items": items}
        if isinstance(value, list | tuple):
            inner = [self._plain(item, f"{where}/{i}", tensors) for i, item in enumerate(value)]
            return {"$": type(value).__name__, "items": inner}
        if isinstance(value, PLAIN):
            return value
        raise PluginFailed(
            f"optimizer {self.name}: it keeps a {type(value).__name__} at {where}, which no checkpoint holds; allowed"
            " tensors, numbers, text, lists and mappings"
        )


def _filled(node: Any, tensors: Mapping[str, Tensor]) -> Any:
    if not isinstance(node, dict):
        return node
    if node["$"] == "tensor":
        return tensors[node["at"]].clone()
    if node["$"] == "dict":
        return {key: _filled(item, tensors) for key, item in node["items"].items()}
    items = [_filled(item, tensors) for item in node["items"]]
    return tuple(items) if node["$"] == "tuple" else items
