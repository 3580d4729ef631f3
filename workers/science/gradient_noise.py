"""Gradients of an analytic function with noise of a known law: additive, multiplicative, or the ABC model."""

import torch
from torch import Tensor

from schemas.gradient_noise import ABCNoise, AdditiveNoise, GradientNoise, MultiplicativeNoise
from workers.science.protocols import Batch, TrainingObjective


class NoisyObjective:
    """An objective whose gradients carry the noise that the last tensor of their batch drives, N(0, 1) numbers xi.

    E ||noise||^2 = A gap + B ||g||^2 + C exactly (design/theory.md, 1.4): additive C = sum of sigma_i^2; multiplicative
    B = s^2; abc as stated, the same in every direction. A gap below 0 counts as 0. Losses are without noise.
    """

    def __init__(
        self, objective: TrainingObjective, noise: GradientNoise, optimum: float | None, like_NP: Tensor
    ) -> None:
        self._objective = objective
        self._noise = noise
        self._optimum = optimum
        sigma = noise.sigma if isinstance(noise, AdditiveNoise) else 0.0
        self._sigma = torch.tensor(sigma, dtype=torch.float64).to(like_NP)  # a scalar, or one by coordinate

    def loss(self, params_NP: Tensor, batch: Batch) -> Tensor:
        """Losses [N]."""
        return self._objective.loss(params_NP, _split(batch)[0])

    def loss_and_grad(self, params_NP: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Losses [N], and gradients [N, P] with noise."""
        plain, xi = _split(batch)
        loss_N, grads_NP = self._objective.loss_and_grad(params_NP, plain)
        if isinstance(self._noise, MultiplicativeNoise):
            return loss_N, grads_NP * (1.0 + self._noise.s * xi).unsqueeze(1)
        if isinstance(self._noise, AdditiveNoise):
            return loss_N, grads_NP + self._sigma * xi
        return loss_N, grads_NP + self._spread(self._noise, loss_N, grads_NP).unsqueeze(1) * xi

    def _spread(self, noise: ABCNoise, loss_N: Tensor, grads_NP: Tensor) -> Tensor:
        """Standard deviation [N] of each coordinate's noise."""
        gap_N = (loss_N - (self._optimum or 0.0)).clamp(min=0.0)
        variance_N = noise.b * grads_NP.square().sum(dim=1) + noise.c
        if noise.a > 0:
            variance_N = variance_N + noise.a * gap_N
        return (variance_N / grads_NP.shape[1]).sqrt()


def _split(batch: Batch) -> tuple[Batch, Tensor]:
    """The batch of the function, and xi."""
    *plain, xi = batch.tensors
    return Batch(tuple(plain), stacked=bool(plain) and batch.stacked, size=batch.size), xi
