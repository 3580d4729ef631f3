"""Rates by layer: LARS and LAMB, whose steps go with the norm of the weights that they move."""

from collections.abc import Sequence

import torch
from torch import Tensor

from workers.science.optimizers.adam import Adam
from workers.science.optimizers.hyperparameters import Layer, PackHyperparameters
from workers.science.optimizers.sgd import SGD
from workers.science.protocols import State


class LARS(SGD):
    """m <- momentum m + r (g + weight_decay w), w <- w - lr m, r = c |w| / (|g| + weight_decay |w|) per layer.

    arXiv 1708.03888, with the global rate outside of the momentum as in torch.optim.SGD (the paper has it inside: the
    same while the rate stands still). r = 1 where |w| or |g| is 0, and for the layers that `adapt_on` leaves out.
    State "trust_ratio" [N, L]: r of the update last made, for each of the L layers that have one.
    """

    def __init__(self, hyperparameters: PackHyperparameters) -> None:
        super().__init__(hyperparameters)
        self._layers = _adapted(hyperparameters)
        self._trust_N1 = self._column(lambda spec: spec.trust_coefficient)

    def init(self, params_NP: Tensor) -> State:
        """Momentum 0, ratios 1."""
        return {**super().init(params_NP), "trust_ratio": _ones(params_NP, self._layers)}

    def coefficients(self, state: State) -> tuple[Tensor, ...]:
        """-lr, momentum, weight decay; trust coefficient and weight decay in float64."""
        return (*super().coefficients(state), self._trust_N1, self._decay.rate_N1)

    def update(
        self, grads_NP: Tensor, state: State, params_NP: Tensor, coefficients: Sequence[Tensor], out_NP: Tensor
    ) -> None:
        """SGD's, of gradients that are multiplied by their layer's ratio; the gradients are overwritten."""
        *of_sgd, trust_N1, decay_N1 = coefficients
        norms = [(_norm(layer, params_NP), _norm(layer, grads_NP)) for layer in self._layers]
        self._decay.add("gradient", grads_NP, params_NP, of_sgd[2])
        for number, (layer, (weight_N1, gradient_N1)) in enumerate(zip(self._layers, norms, strict=True)):
            of_decay_N1 = decay_N1 * weight_N1 if self._decay.is_in("gradient", layer) else 0.0
            ratio_N1 = trust_N1 * weight_N1 / (gradient_N1 + of_decay_N1)
            ratio_N1 = torch.where((weight_N1 > 0) & (gradient_N1 > 0), ratio_N1, 1.0)
            state["trust_ratio"][:, number : number + 1].copy_(ratio_N1)
            layer.of(grads_NP).mul_(self._rounded(ratio_N1))
        self._momentum_step(grads_NP, state, params_NP, of_sgd, out_NP)

    def preconditioner(self, state: State) -> Tensor:  # type: ignore[override]
        """1/r of each parameter's layer, of the update last made."""
        return _spread(1 / state["trust_ratio"], self._layers, torch.ones_like(state["momentum"]))


class LAMB(Adam):
    """w <- w - lr r (D + weight_decay w), D = AdamW's direction, r = |w| / |D + weight_decay w| per layer.

    arXiv 1904.00962 with phi the identity, as its authors' code. r = 1 where either norm is 0, and for the layers that
    `adapt_on` leaves out. State "trust_ratio" [N, L]: r of the update last made, for the L layers that have one.
    """

    DECAY = "update"

    def __init__(self, hyperparameters: PackHyperparameters) -> None:
        super().__init__(hyperparameters)
        self._layers = _adapted(hyperparameters)

    def init(self, params_NP: Tensor) -> State:
        """Adam's, and ratios 1."""
        return {**super().init(params_NP), "trust_ratio": _ones(params_NP, self._layers)}

    def coefficients(self, state: State) -> tuple[Tensor, ...]:
        """AdamW's, and lr in float64."""
        return (*super().coefficients(state), state["lr"].unsqueeze(1))

    def update(
        self, grads_NP: Tensor, state: State, params_NP: Tensor, coefficients: Sequence[Tensor], out_NP: Tensor
    ) -> None:
        """AdamW's update, each layer's multiplied by its ratio; the gradients are overwritten."""
        *of_adam, lr_N1 = coefficients
        minus_rate_N1, *of_direction, decay_N1 = of_adam
        self._direction(grads_NP, state, of_direction, out_NP).mul_(minus_rate_N1)
        self._decay.add("update", out_NP, params_NP, decay_N1)
        for number, layer in enumerate(self._layers):
            weight_N1, step_N1 = _norm(layer, params_NP), _norm(layer, out_NP)
            # the update is lr times the direction by now
            ratio_N1 = torch.where((weight_N1 > 0) & (step_N1 > 0), lr_N1 * weight_N1 / step_N1, 1.0)
            state["trust_ratio"][:, number : number + 1].copy_(ratio_N1)
            layer.of(out_NP).mul_(self._rounded(ratio_N1))
        self._scale(out_NP)
        self._decay.add("apart", out_NP, params_NP, decay_N1)

    def preconditioner(self, state: State) -> Tensor:
        """Adam's divided by r of each parameter's layer, of the update last made."""
        return _spread(1 / state["trust_ratio"], self._layers, super().preconditioner(state))


def _adapted(hyperparameters: PackHyperparameters) -> tuple[Layer, ...]:
    first = hyperparameters.specs[0]
    assert first.kind in ("lars", "lamb")
    return hyperparameters.layers(first.adapt_on)


def _ones(params_NP: Tensor, layers: Sequence[Layer]) -> Tensor:
    return params_NP.new_ones((len(params_NP), len(layers)), dtype=torch.float64)


def _norm(layer: Layer, flat_nP: Tensor) -> Tensor:
    """2-norms [n, 1] of a layer, in float64 (summed in the parameters' dtype: four times faster)."""
    norms_n1: Tensor = torch.linalg.vector_norm(layer.of(flat_nP), dim=1, keepdim=True)
    return norms_n1.double()


def _spread(values_NL: Tensor, layers: Sequence[Layer], target_NP: Tensor) -> Tensor:
    """The target with each layer's columns multiplied by its value."""
    for number, layer in enumerate(layers):
        layer.of(target_NP).mul_(values_NL[:, number : number + 1].to(target_NP.dtype))
    return target_NP
