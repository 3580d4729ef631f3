"""Rectified Adam (arXiv 1908.03265): momentum alone until the second moment's variance is bounded."""

from collections.abc import Sequence

import torch
from torch import Tensor

from workers.science.optimizers.adam import Adam
from workers.science.optimizers.hyperparameters import PackHyperparameters
from workers.science.protocols import State


class RAdam(Adam):
    """torch.optim.RAdam; `rectify_above` is 5 there and 4 in the paper.

    rho_inf = 2 / (1 - beta2) - 1, rho_t = rho_inf - 2 t beta2^t / (1 - beta2^t). Where rho_t is above the threshold the
    update is lr r_t mhat / ((sqrt(v) + eps) / sqrt(1 - beta2^t)), r_t^2 = (rho_t - 4) (rho_t - 2) rho_inf /
    ((rho_inf - 4) (rho_inf - 2) rho_t); before, it is lr mhat: momentum, at a rate meant for Adam.
    """

    def __init__(self, hyperparameters: PackHyperparameters) -> None:
        super().__init__(hyperparameters)
        self._threshold_N1 = self._column(lambda spec: spec.rectify_above)

    def coefficients(self, state: State) -> tuple[Tensor, ...]:
        """Counts the update, then: -lr', eps, 1 - beta1, 1 - beta2, weight decay, whether it is rectified (1, 0)."""
        step_N1, lr_N1 = state["step"].add_(1).unsqueeze(1), state["lr"].unsqueeze(1)
        is_rectified_N1, factor_N1 = self._rectification(step_N1)
        minus_rate_N1 = -lr_N1 * factor_N1 / (1 - self._beta1_N1**step_N1)
        decay_N1 = self._decay.coefficient(lr_N1)
        columns = (self._rounded(minus_rate_N1), self._rounded(self._eps_N1), *self._fixed, decay_N1)
        return (*columns, self._rounded(is_rectified_N1))

    def update(
        self, grads_NP: Tensor, state: State, params_NP: Tensor, coefficients: Sequence[Tensor], out_NP: Tensor
    ) -> None:
        """out = -lr' m / (sqrt(v) + eps), or -lr' m; the gradients are overwritten."""
        minus_rate_N1, eps_N1, weight1_N1, weight2_N1, decay_N1, rectified_N1 = coefficients
        self._decay.add("gradient", grads_NP, params_NP, decay_N1)
        first_NP = state["first_moment"].lerp_(grads_NP, weight1_N1)
        second_NP = state["second_moment"].lerp_(grads_NP.square_(), weight2_N1)
        # times 1, plus 0 where it is rectified; 1 where not
        denominator_NP = torch.sqrt(second_NP, out=grads_NP).add_(eps_N1).mul_(rectified_N1).add_(1 - rectified_N1)
        torch.div(first_NP, denominator_NP, out=out_NP).mul_(minus_rate_N1)
        self._scale(out_NP)
        self._decay.add("apart", out_NP, params_NP, decay_N1)

    def preconditioner(self, state: State) -> Tensor:
        """(1 - beta1^t) (sqrt(v) + eps) / (sqrt(1 - beta2^t) r_t) of update t; 1 - beta1^t where it is momentum."""
        step_N1 = state["step"].unsqueeze(1)
        is_rectified_N1, factor_N1 = self._rectification(step_N1)
        root_NP = torch.where(is_rectified_N1 > 0, state["second_moment"].sqrt() + self._eps_N1, 1.0)
        return ((1 - self._beta1_N1**step_N1) * root_NP / factor_N1).to(self._hyperparameters.dtype)

    def _rectification(self, step_N1: Tensor) -> tuple[Tensor, Tensor]:
        """[N, 1]: 1 where update t is rectified, else 0; and r_t sqrt(1 - beta2^t), 1 where it is not."""
        power_N1 = self._beta2_N1**step_N1
        longest_N1 = 2 / (1 - self._beta2_N1) - 1
        rho_N1 = longest_N1 - 2 * step_N1 * power_N1 / (1 - power_N1)
        is_rectified_N1 = rho_N1 > self._threshold_N1
        square_N1 = (rho_N1 - 4) * (rho_N1 - 2) * longest_N1 / ((longest_N1 - 4) * (longest_N1 - 2) * rho_N1)
        factor_N1 = (square_N1 * (1 - power_N1)).sqrt()
        return is_rectified_N1.double(), torch.where(is_rectified_N1, factor_N1, 1.0)
