"""The loss of a pack, its gradient and its Hessian-vector product, from the loss of one trial."""

import importlib
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import grad, grad_and_value, jvp, vjp, vmap

from workers.science.protocols import Batch, Product, TrainingObjective, TrialLoss
from workers.science.streams import WORD
from workers.science.tracing import Traced


@dataclass(frozen=True)
class Network:
    """A loss in its two parts: `outputs(params_P, *batch)`, and `loss(outputs, *batch) -> scalar`."""

    outputs: Callable[..., Tensor]
    loss: Callable[..., Tensor]


class PackObjective:
    """`trial_loss(params_P, *batch) -> scalar`, batched over the pack by vmap and replayed from a trace.

    Serves any number of trials and any batch; may be shared by all packs of a process that train the same graph.
    `network`: the same loss in its parts, for products with its Gauss-Newton matrix.
    """

    def __init__(
        self, trial_loss: TrialLoss, num_parameters: int, *, network: Network | None = None, trace: bool = True
    ) -> None:
        self.num_parameters = num_parameters
        self._trial_loss = trial_loss
        self._network = network
        self._trace = trace
        self._batched: dict[tuple[str, int, bool], Traced] = {}

    def loss(self, params_NP: Tensor, batch: Batch) -> Tensor:
        """Losses [N] of `params_NP` on `batch`."""
        return self._call("loss", batch, params_NP)[0]

    def loss_and_grad(self, params_NP: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Losses [N] and gradients [N, P]."""
        loss_N, grads_NP = self._call("loss_and_grad", batch, params_NP)
        return loss_N, grads_NP

    def hvp(self, params_NP: Tensor, batch: Batch, vectors_NP: Tensor) -> Tensor:
        """Hessian-vector products [N, P], forward over reverse."""
        return self.hvp_at(params_NP, batch)(vectors_NP)

    def hvp_at(self, params_NP: Tensor, batch: Batch) -> Product:
        """`hvp` at one place: the loss's own passes are made once for all vectors."""
        return self._product_at("hvp", params_NP, batch)

    def gauss_newton_at(self, params_NP: Tensor, batch: Batch) -> Product:
        """Products with J^T L J: forward to the outputs, through the loss's Hessian there, and back."""
        assert self._network is not None
        return self._product_at("gauss_newton", params_NP, batch)

    def _product_at(self, what: str, params_NP: Tensor, batch: Batch) -> Product:
        of_vectors = self._traced(what, batch, (0, *self._batch_dims(batch), 0)).at(params_NP, *batch.tensors)
        return lambda vectors_NP: of_vectors(vectors_NP)[0]

    def _call(self, what: str, batch: Batch, params_NP: Tensor) -> tuple[Tensor, ...]:
        return self._traced(what, batch, (0, *self._batch_dims(batch)))(params_NP, *batch.tensors)

    def _batch_dims(self, batch: Batch) -> tuple[int | None, ...]:
        return (0 if batch.stacked else None,) * len(batch.tensors)

    def _traced(self, what: str, batch: Batch, in_dims: tuple[int | None, ...]) -> Traced:
        key = (what, len(batch.tensors), batch.stacked)
        if key not in self._batched:
            self._batched[key] = Traced(vmap(self._of_one_trial(what), in_dims=in_dims), enabled=self._trace)
        return self._batched[key]

    def _of_one_trial(self, what: str) -> Callable[..., tuple[Tensor, ...]]:
        trial_loss = self._trial_loss
        if what == "loss":
            return lambda params_P, *batch: (trial_loss(params_P, *batch),)
        if what == "loss_and_grad":

            def loss_and_grad(params_P: Tensor, *batch: Tensor) -> tuple[Tensor, Tensor]:
                grad_P, value = grad_and_value(trial_loss)(params_P, *batch)
                return value, grad_P

            return loss_and_grad

        _load_forward_mode()
        if what == "gauss_newton":
            assert self._network is not None
            return _gauss_newton_of(self._network)

        def hvp(params_P: Tensor, *others: Tensor) -> tuple[Tensor]:
            *batch, vector_P = others
            derivatives = jvp(lambda at_P: grad(trial_loss)(at_P, *batch), (params_P,), (vector_P,))
            return (derivatives[1],)

        return hvp


class AccumulatedObjective:
    """The mean over `parts` equal batches that are taken one after the other: a part's activations at a time."""

    def __init__(self, objective: TrainingObjective, parts: int) -> None:
        self._objective = objective
        self._parts = parts

    def loss(self, params_NP: Tensor, batch: Batch) -> Tensor:
        """Losses [N], each the mean over the parts."""
        return torch.stack([self._objective.loss(params_NP, part) for part in self._split(batch)]).mean(dim=0)

    def loss_and_grad(self, params_NP: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Losses [N] and gradients [N, P], each the mean over the parts."""
        first, *others = self._split(batch)
        loss_N, grads_NP = self._objective.loss_and_grad(params_NP, first)
        for part in others:
            more_N, more_NP = self._objective.loss_and_grad(params_NP, part)
            loss_N, grads_NP = loss_N + more_N, grads_NP.add_(more_NP)
        return loss_N / self._parts, grads_NP.div_(self._parts)

    def _split(self, batch: Batch) -> list[Batch]:
        size = batch.size // self._parts
        parts = []
        for index in range(self._parts):
            rows = slice(index * size, (index + 1) * size)
            # a key [N] of dropout masks has no axis of examples: each part has a key of its own
            tensors = (each[:, rows] if each.ndim > 1 else (each + index) % WORD for each in batch.tensors)
            parts.append(Batch(tuple(tensors), stacked=True, size=size))
        return parts


def _gauss_newton_of(network: Network) -> Callable[..., tuple[Tensor, ...]]:
    def product(params_P: Tensor, *others: Tensor) -> tuple[Tensor]:
        *batch, vector_P = others

        def outputs(at_P: Tensor) -> Tensor:
            return network.outputs(at_P, *batch)

        def slope(there: Tensor) -> Tensor:
            of_loss: Tensor = grad(network.loss)(there, *batch)
            return of_loss

        forward = jvp(outputs, (params_P,), (vector_P,))
        curved = jvp(slope, (forward[0],), (forward[1],))[1]
        back = vjp(outputs, params_P)[1]
        return (back(curved)[0],)

    return product


def _load_forward_mode() -> None:
    # torch compiles its forward-mode rules when first asked for one, and warns of the compiler that it uses for it
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        importlib.import_module("torch._decomp.decompositions_for_jvp")
