"""AdamW^2 (arXiv 2505.21910): AdamW whose step is bounded by the spectral norm of each weight matrix."""

from collections.abc import Sequence

import torch
from torch import Tensor

from workers.science.optimizers.adam import AdamW
from workers.science.optimizers.hyperparameters import Layer, PackHyperparameters
from workers.science.protocols import State
from workers.science.streams import generator

COLD_ITERATIONS = 30
"""On the starting weights, whose vectors are not warm yet: 5 from a cold one are 5 % off on a Gaussian matrix."""


class AdamW2(AdamW):
    """alpha = min(lr, tau s(W) / s(D)) per weight matrix, W <- W - alpha (D + weight_decay W).

    D is AdamW's direction, s the largest singular value, W before the update: by Weyl s(W) grows by the share tau at
    most (without decay). The box of the paper could not be read; what it leaves open is decided so: the decay goes with
    the bounded rate; vectors keep plain AdamW; a convolution is out x rest; s(W) counts as `sigma_floor` at least, so
    that zeros move; mup's factor is part of the rate that is bounded.

    s is found by `power_iterations` from the singular vectors of the update before, kept in the state, for W and for D.
    They find it from below: too small an s(D) bounds by as much too little, where D changes faster than they follow.
    State "bound" [N, L]: alpha / lr of the update last made, for each of the L matrices. Cost: 4 passes over W and D
    per iteration.
    """

    def __init__(self, hyperparameters: PackHyperparameters) -> None:
        super().__init__(hyperparameters)
        self._matrices = hyperparameters.layers("matrices")
        # where each matrix's right singular vector stands in the state's
        ends = torch.tensor([layer.shape[1] for layer in self._matrices], dtype=torch.int64).cumsum(0).tolist()
        self._places = [slice(end - layer.shape[1], end) for end, layer in zip(ends, self._matrices, strict=True)]
        self._tau_N1 = self._column(lambda spec: spec.tau)
        self._floor_N1 = self._column(lambda spec: spec.sigma_floor)
        self._iterations = int(getattr(hyperparameters.specs[0], "power_iterations", 1))

    def init(self, params_NP: Tensor) -> State:
        """Adam's; bounds 1; singular vectors of the starting weights, and the same random ones for D in every trial."""
        none_N0 = params_NP.new_empty(len(params_NP), 0)
        vectors_NV = torch.cat([none_N0, *(_random_vector(layer, params_NP) for layer in self._matrices)], dim=1)
        state = {
            **super().init(params_NP),
            "bound": params_NP.new_ones((len(params_NP), len(self._matrices)), dtype=torch.float64),
            "weight_vectors": vectors_NV,
            "update_vectors": vectors_NV.clone(),
        }
        for layer, place in zip(self._matrices, self._places, strict=True):
            largest_singular_value(layer.matrix_of(params_NP), state["weight_vectors"][:, place], COLD_ITERATIONS)
        return state

    def coefficients(self, state: State) -> tuple[Tensor, ...]:
        """AdamW's; tau and the floor of s(W) in float64."""
        return (*super().coefficients(state), self._tau_N1, self._floor_N1)

    def update(
        self, grads_NP: Tensor, state: State, params_NP: Tensor, coefficients: Sequence[Tensor], out_NP: Tensor
    ) -> None:
        """AdamW's update, each matrix's multiplied by its bound; the gradients are overwritten."""
        *of_adamw, tau_N1, floor_N1 = coefficients
        minus_rate_N1, *of_direction, decay_N1 = of_adamw
        self._direction(grads_NP, state, of_direction, out_NP).mul_(minus_rate_N1)
        bounds = [
            self._bound(number, state, params_NP, out_NP, tau_N1, floor_N1) for number in range(len(self._matrices))
        ]
        self._decay.add("update", out_NP, params_NP, decay_N1)
        self._scale(out_NP)
        for number, (layer, bound_N1) in enumerate(zip(self._matrices, bounds, strict=True)):
            state["bound"][:, number : number + 1].copy_(bound_N1)
            layer.of(out_NP).mul_(self._rounded(bound_N1))
        self._decay.add("apart", out_NP, params_NP, decay_N1)

    def _bound(
        self, number: int, state: State, params_NP: Tensor, step_NP: Tensor, tau_N1: Tensor, floor_N1: Tensor
    ) -> Tensor:
        """[N, 1] in float64: min(1, tau s(W) / s(lr D)) of a matrix."""
        layer, place = self._matrices[number], self._places[number]
        weights, steps = layer.matrix_of(params_NP), layer.matrix_of(step_NP)
        of_weights_N1 = largest_singular_value(weights, state["weight_vectors"][:, place], self._iterations)
        of_steps_N1 = largest_singular_value(steps, state["update_vectors"][:, place], self._iterations)
        if self._multiplier_P is not None:
            of_steps_N1 = of_steps_N1 * self._multiplier_P[layer.columns.start]  # one factor for the whole tensor
        return (tau_N1 * torch.maximum(of_weights_N1, floor_N1) / of_steps_N1).clamp(max=1.0)

    def preconditioner(self, state: State) -> Tensor:
        """Adam's divided by alpha / lr of each parameter's matrix, of the update last made."""
        found_NP = super().preconditioner(state)
        for number, layer in enumerate(self._matrices):
            layer.of(found_NP).div_(state["bound"][:, number : number + 1].to(found_NP.dtype))
        return found_NP


def largest_singular_value(matrices: Tensor, vectors_nR: Tensor, iterations: int) -> Tensor:
    """Estimates [n, 1] in float64 for matrices [n, rows, R], by power iteration; never above the truth.

    Args:
        vectors_nR: where to start, of length 1; replaced by what was found, and left where a matrix is 0 or not finite.
    """
    # row vectors: the product of a row with a batch of matrices is several times faster on a CPU than with a column
    right = vectors_nR.unsqueeze(1)
    value = right.new_zeros((len(right), 1, 1))
    for _ in range(iterations):
        left = torch.bmm(right, matrices.transpose(1, 2))
        left /= _length(left).clamp_(min=torch.finfo(left.dtype).tiny)
        product = torch.bmm(left, matrices)
        value = _length(product)
        is_found = (value > 0) & torch.isfinite(value)
        right = torch.where(is_found, product / value, right)
    vectors_nR.copy_(right.squeeze(1))
    return value.squeeze(2).double()


def _length(rows: Tensor) -> Tensor:
    """[n, 1, 1]."""
    length: Tensor = torch.linalg.vector_norm(rows, dim=2, keepdim=True)
    return length


def _random_vector(layer: Layer, params_NP: Tensor) -> Tensor:
    """The same unit vector for every trial, [N, R]."""
    drawn_R = torch.randn(layer.shape[1], generator=generator(0, "power_iteration", layer.name), dtype=torch.float64)
    vector_NR: Tensor = (drawn_R / drawn_R.norm()).to(params_NP).expand(len(params_NP), -1).clone()
    return vector_NR
