"""GI-Adam (arXiv 2406.09405): Adam whose second moment starts at the square of the first gradient."""

import torch
from torch import Tensor

from workers.science.optimizers.adam import Adam
from workers.science.protocols import State


class GIAdam(Adam):
    """v_0 = g_0^2, g_0 the gradient at the start as the first update sees it (clipped, with the decay it brings).

    The bias correction stays, and is now one too many: on a constant gradient the rate is lr sqrt(1 - beta2^t). With
    v_0 = 0 it would be Adam. The preconditioner of the first update is Adam's divided by sqrt(1 - beta2).
    """

    def coefficients(self, state: State) -> tuple[Tensor, ...]:
        """Adam's; the first gradient's square has weight 1 in v: beta2 g_0^2 + (1 - beta2) g_0^2."""
        minus_rate_N1, eps_N1, weight1_N1, weight2_N1, decay_N1 = super().coefficients(state)
        is_first_N1 = (state["step"] == 1).unsqueeze(1)
        return minus_rate_N1, eps_N1, weight1_N1, torch.where(is_first_N1, 1.0, weight2_N1), decay_N1
