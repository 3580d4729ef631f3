"""A trial that trains alone: its model runs as it is written, by plain autograd, with buffers and random numbers."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from workers.plugins import PluginFailed, calling
from workers.science.evaluation import accuracy
from workers.science.own.modules import OwnModel, call_module, constants, evaluation_mode
from workers.science.own.streams import start_global_streams
from workers.science.parameters import Layout
from workers.science.protocols import Batch, Loss, Model, Product, State

EVALUATION_EXAMPLES = 512
"""So many at a time go through the model: in evaluation mode an example does not hang on its neighbours."""


class AloneObjective:
    """The loss of the one trial of a pack, as `workers.science.protocols.Objective`, and its training step.

    Its batches carry a key, as those of a model with dropout do: what the user's code draws begins at a start that the
    key decides, so that a step can be made again, and a checkpoint needs the buffers and no stream. Probes have one key
    for all points, and copies of the buffers: batch norm normalises by the probe batch in training mode, dropout has
    fixed masks, and nothing that training depends on changes. Hessian-vector products are reverse over reverse, with
    the attention kernel that has second derivatives.
    """

    def __init__(
        self,
        model: Model,
        loss: Loss,
        layout: Layout,
        module: nn.Module | None,
        *,
        autocast: bool = False,
        num_classes: int | None = None,
    ) -> None:
        """`module`: the trial's own, where the model is the user's; None for one of ours. `autocast`: in training.

        `num_classes`: outputs that a loss of ours needs for each target; None: a loss of the user's own may take any.
        """
        self._num_classes = num_classes
        self.num_parameters = layout.num_parameters
        self._model, self._loss, self._layout, self._module = model, loss, layout, module
        self._autocast = autocast
        self._tensors = {} if module is None else {name: tensor.clone() for name, tensor in constants(module).items()}

    def loss(self, params_NP: Tensor, batch: Batch) -> Tensor:
        """Losses [N] of `params_NP` on `batch`."""
        with torch.no_grad():
            return torch.stack([self._probed(params_P, _of(batch, i)).detach() for i, params_P in enumerate(params_NP)])

    def loss_and_grad(self, params_NP: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Losses [N] and gradients [N, P]."""
        pairs = []
        for i, params_P in enumerate(params_NP):
            leaf_P = params_P.detach().requires_grad_()
            loss = self._probed(leaf_P, _of(batch, i))
            pairs.append((loss.detach(), self._gradient(loss, leaf_P)))
        return _stacked(pairs)

    def hvp(self, params_NP: Tensor, batch: Batch, vectors_NP: Tensor) -> Tensor:
        """Hessian-vector products [N, P]."""
        return self.hvp_at(params_NP, batch)(vectors_NP)

    def hvp_at(self, params_NP: Tensor, batch: Batch) -> Product:
        """`hvp` at one place: the gradient's graph is kept for all vectors."""
        slopes = []
        with sdpa_kernel(SDPBackend.MATH):
            for i, params_P in enumerate(params_NP):
                leaf_P = params_P.detach().requires_grad_()
                loss = self._probed(leaf_P, _of(batch, i))
                slopes.append((leaf_P, self._gradient(loss, leaf_P, create_graph=True)))

        def product(vectors_NP: Tensor) -> Tensor:
            found = []
            with sdpa_kernel(SDPBackend.MATH):
                for (leaf_P, grad_P), vector_P in zip(slopes, vectors_NP, strict=True):
                    if not grad_P.requires_grad:  # linear in its parameters
                        found.append(torch.zeros_like(vector_P))
                        continue
                    along = grad_P @ vector_P
                    found.append(torch.autograd.grad(along, leaf_P, retain_graph=True, materialize_grads=True)[0])
            return torch.stack(found)

        return product

    def gauss_newton_at(self, params_NP: Tensor, batch: Batch) -> Product:
        """Products with J^T L J, L the loss's Hessian in the outputs.

        J v is the derivative of u -> J^T u along v, as forward mode may not know what the user's code is made of.
        """

        def product(vectors_NP: Tensor) -> Tensor:
            found = []
            with sdpa_kernel(SDPBackend.MATH):
                for i, (params_P, vector_P) in enumerate(zip(params_NP, vectors_NP, strict=True)):
                    found.append(self._gauss_newton_of_one(params_P, _of(batch, i), vector_P))
            return torch.stack(found)

        return product

    def _gauss_newton_of_one(self, params_P: Tensor, tensors: tuple[Tensor, ...], vector_P: Tensor) -> Tensor:
        leaf_P = params_P.detach().requires_grad_()
        outputs, targets = self._probed_outputs(leaf_P, tensors)
        tangent = self._forward(outputs, leaf_P, vector_P)
        there = outputs.detach().requires_grad_()
        (slope,) = torch.autograd.grad(self._loss(there, targets), there, create_graph=True)
        if not slope.requires_grad:  # a loss that is linear in the outputs
            return torch.zeros_like(vector_P)
        (curved,) = torch.autograd.grad(slope, there, tangent, materialize_grads=True)
        with calling("models", getattr(self._model, "name", "")):
            (product_P,) = torch.autograd.grad(outputs, leaf_P, curved)
        return product_P

    def train(self, params_NP: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Losses [1] and gradients [1, P] of a training batch; the model's buffers move on."""
        (params_P,) = params_NP
        leaf_P = params_P.detach().requires_grad_()
        loss = self._value(leaf_P, _of(batch, 0), self._tensors, autocast=self._autocast)
        pair = loss.detach(), self._gradient(loss, leaf_P)
        self._tensors = {name: tensor.detach() for name, tensor in self._tensors.items()}
        return _stacked([pair])

    def training_loss(self, params_NP: Tensor, batch: Batch) -> Tensor:
        """Losses [1] of a training batch, with the random numbers of its step."""
        (params_P,) = params_NP
        with torch.no_grad():
            return self._probed(params_P, _of(batch, 0), autocast=self._autocast).reshape(1)

    def evaluate(self, params_NP: Tensor, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Losses [N] and accuracies [N] in evaluation mode."""
        found = []
        with torch.no_grad():
            for params_P in params_NP:
                outputs = self._evaluated(params_P, inputs)
                self._check_classes(outputs, targets)
                found.append((self._loss(outputs, targets), accuracy(outputs, targets)))
        return _stacked(found)

    def state(self) -> State:
        """Buffers and frozen parameters, with a leading axis 1."""
        return {name: tensor.unsqueeze(0) for name, tensor in self._tensors.items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Puts back what `state` gave.

        Raises:
            PluginFailed: the model was built with other buffers or frozen parameters than those that were saved.
        """
        if set(self._tensors) != set(state):
            got, allowed = (", ".join(sorted(names)) or "none" for names in (self._tensors, state))
            said = f"got buffers and frozen parameters {got}, allowed {allowed}, as when its checkpoint was made"
            raise PluginFailed(f"model {getattr(self._model, 'name', '')}: {said}")
        self._tensors = {name: state[name].squeeze(0) for name in self._tensors}

    def _probed(self, params_P: Tensor, batch: tuple[Tensor, ...], *, autocast: bool = False) -> Tensor:
        copies = {name: tensor.clone() for name, tensor in self._tensors.items()}
        return self._value(params_P, batch, copies, autocast=autocast)

    def _value(
        self, params_P: Tensor, batch: tuple[Tensor, ...], tensors: dict[str, Tensor], *, autocast: bool
    ) -> Tensor:
        inputs, targets, key = batch
        start_global_streams(int(key))  # a loss of the user's own may draw, too
        with torch.autocast(inputs.device.type, torch.bfloat16, enabled=autocast):
            outputs = self._outputs(params_P, inputs, tensors, key)
        self._check_classes(outputs, targets)
        return self._loss(outputs.to(params_P.dtype), targets)

    def _probed_outputs(self, params_P: Tensor, batch: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Outputs and targets, under the buffers and random numbers of every probe."""
        inputs, targets, key = batch
        copies = {name: tensor.clone() for name, tensor in self._tensors.items()}
        if self._module is not None:
            start_global_streams(int(key))
        outputs = self._outputs(params_P, inputs, copies, key).to(params_P.dtype)
        if not outputs.requires_grad:
            raise PluginFailed("got outputs that do not depend on the parameters, allowed ones that do")
        self._check_classes(outputs, targets)
        return outputs, targets

    def _check_classes(self, outputs: Tensor, targets: Tensor) -> None:
        """Our losses compare labels with the outputs' places, so that one without a place would cost nothing."""
        if self._num_classes is None or outputs.shape == (*targets.shape, self._num_classes):
            return
        allowed = f"{[*targets.shape, self._num_classes]}: one for each of {self._num_classes} classes"
        name = getattr(self._model, "name", "")
        raise PluginFailed(f"model {name}: got outputs of shape {list(outputs.shape)}, allowed {allowed}")

    def _forward(self, outputs: Tensor, leaf_P: Tensor, vector_P: Tensor) -> Tensor:
        """J v, of the outputs' shape."""
        weights = torch.zeros_like(outputs, requires_grad=True)
        with calling("models", getattr(self._model, "name", "")):
            (back_P,) = torch.autograd.grad(outputs, leaf_P, weights, create_graph=True)
            (tangent,) = torch.autograd.grad(back_P, weights, vector_P, retain_graph=True)
        return tangent

    def _outputs(
        self, params_P: Tensor, inputs: Tensor, tensors: dict[str, Tensor], key: Tensor | None = None
    ) -> Tensor:
        params = self._layout.unflatten(params_P)
        if self._module is None:
            return self._model.apply(params, inputs, key)
        assert isinstance(self._model, OwnModel)
        given = {**params, **tensors}
        outputs = call_module(self._model.name, self._module, given, inputs, params_P.dtype)
        tensors.update({name: given[name] for name in tensors})  # a buffer may have been put in another's place
        return outputs

    def _evaluated(self, params_P: Tensor, inputs: Tensor) -> Tensor:
        parts = torch.split(inputs, EVALUATION_EXAMPLES)
        start_global_streams(0)
        if self._module is None:
            return torch.cat([self._outputs(params_P, part, {}) for part in parts])
        tensors = {name: tensor.clone() for name, tensor in self._tensors.items()}
        with evaluation_mode(self._module):
            return torch.cat([self._outputs(params_P, part, tensors) for part in parts])

    def _gradient(self, loss: Tensor, leaf_P: Tensor, *, create_graph: bool = False) -> Tensor:
        grad_P: Tensor | None = None
        if loss.requires_grad:
            # the backward pass of a function of the user's own is theirs, too
            with calling("models", getattr(self._model, "name", "")):
                (grad_P,) = torch.autograd.grad(loss, leaf_P, create_graph=create_graph, allow_unused=True)
        if grad_P is None:
            raise PluginFailed("got a loss that does not depend on the parameters, allowed one that does")
        return grad_P


class AloneTraining:
    """The same in training, as `workers.science.protocols.TrainingObjective`."""

    def __init__(self, objective: AloneObjective) -> None:
        self._objective = objective

    def loss(self, params_NP: Tensor, batch: Batch) -> Tensor:
        """Losses [1], as a step would find them; no buffer moves."""
        return self._objective.training_loss(params_NP, batch)

    def loss_and_grad(self, params_NP: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Losses [1] and gradients [1, P] of a step; buffers move on."""
        return self._objective.train(params_NP, batch)


def _of(batch: Batch, i: int) -> tuple[Tensor, ...]:
    return tuple(tensor[i] for tensor in batch.tensors) if batch.stacked else batch.tensors


def _stacked(pairs: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    first, second = zip(*pairs, strict=True)
    return torch.stack(first), torch.stack(second)
