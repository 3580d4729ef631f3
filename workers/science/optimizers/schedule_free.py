"""Schedule-Free AdamW (arXiv 2405.15682): an average of the steps in the place of a decay of the rate."""

from collections.abc import Sequence

import torch
from torch import Tensor

from workers.science.optimizers.adam import Adam
from workers.science.optimizers.hyperparameters import PackHyperparameters
from workers.science.optimizers.rule import per_trial
from workers.science.protocols import State


class ScheduleFreeAdamW(Adam):
    """y = (1 - beta1) z + beta1 x;  z <- z - lr (g(y) / (sqrt(vhat) + eps) + weight_decay y);  x <- (1 - c) x + c z.

    c = w_k / (w_0 + ... + w_k), w_k = (k + 1)^r gamma^p of update k, gamma the largest rate so far, p =
    `weight_lr_power`. As in the authors' code, but that x is kept rather than found from y and z (so beta1 may be 0),
    and that the warmup is the schedule's. The parameters that the loop holds are y: rows of steps and probes are read
    there. Evaluations and the end of the run are read at x, the point that the method answers with.
    """

    DECAY = "update"

    def __init__(self, hyperparameters: PackHyperparameters) -> None:
        super().__init__(hyperparameters)
        self._r_N1 = self._column(lambda spec: spec.r)
        self._power_N1 = self._column(lambda spec: spec.weight_lr_power)

    def init(self, params_NP: Tensor) -> State:
        """x = z = y; "average" is x."""
        return {
            "lr": per_trial(params_NP),
            "step": per_trial(params_NP),
            "largest_lr": per_trial(params_NP),
            "weight_sum": per_trial(params_NP),
            "second_moment": torch.zeros_like(params_NP),
            "z": params_NP.clone(),
            "average": params_NP.clone(),
        }

    def coefficients(self, state: State) -> tuple[Tensor, ...]:
        """Counts the update, then: -lr', eps', 1 - beta2, weight decay, c, beta1."""
        step_N1, lr_N1 = state["step"].add_(1).unsqueeze(1), state["lr"].unsqueeze(1)
        largest_N = torch.maximum(state["largest_lr"], state["lr"], out=state["largest_lr"])
        weight_N1 = step_N1**self._r_N1 * largest_N.unsqueeze(1) ** self._power_N1
        sum_N1 = state["weight_sum"].add_(weight_N1.squeeze(1)).unsqueeze(1)
        share_N1 = torch.where(sum_N1 > 0, weight_N1 / sum_N1, 0.0)  # no rate has been above 0 yet
        root_N1 = (1 - self._beta2_N1**step_N1).sqrt_()
        columns = (-lr_N1 * root_N1, self._eps_N1 * root_N1)
        decay_N1 = self._decay.coefficient(lr_N1)
        return (
            *(self._rounded(column_N1) for column_N1 in columns),
            self._fixed[1],
            decay_N1,
            self._rounded(share_N1),
            self._rounded(self._beta1_N1),
        )

    def update(
        self, grads_NP: Tensor, state: State, params_NP: Tensor, coefficients: Sequence[Tensor], out_NP: Tensor
    ) -> None:
        """out = the next y less this one; the gradients are overwritten."""
        minus_rate_N1, eps_N1, weight2_N1, decay_N1, share_N1, beta1_N1 = coefficients
        torch.mul(grads_NP, minus_rate_N1, out=out_NP)
        second_NP = state["second_moment"].lerp_(grads_NP.square_(), weight2_N1)
        out_NP.div_(torch.sqrt(second_NP, out=grads_NP).add_(eps_N1))
        self._decay.add("update", out_NP, params_NP, decay_N1)
        self._scale(out_NP)
        self._decay.add("apart", out_NP, params_NP, decay_N1)
        z_NP = state["z"].add_(out_NP)
        average_NP = state["average"].lerp_(z_NP, share_N1)
        torch.lerp(z_NP, average_NP, beta1_N1, out=out_NP).sub_(params_NP)

    def evaluation_point(self, state: State, params_NP: Tensor) -> Tensor:
        """x, the average."""
        return state["average"]

    def preconditioner(self, state: State) -> Tensor:
        """sqrt(vhat) + eps of update t: there is no momentum whose bias could be corrected."""
        step_N1 = state["step"].unsqueeze(1)
        root_NP = (state["second_moment"] / (1 - self._beta2_N1**step_N1)).sqrt()
        return (root_NP + self._eps_N1).to(self._hyperparameters.dtype)

    def stability_threshold(self, lr_N: Tensor) -> Tensor:
        """2 / ((1 - beta1) lr), for the preconditioned sharpness late in training, where x has all but come to rest."""
        return 2 / ((1 - self._beta1_N1.squeeze(1)) * lr_N)
