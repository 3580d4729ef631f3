"""Polyak's rate: the gap over the squared gradient, which needs to know f* and nothing of the curvature."""

import torch
from torch import Tensor

from workers.laws import polyak_rate
from workers.science.protocols import Observation
from workers.science.rules.gap_rule import GapRule


class PolyakRule(GapRule):
    """rate = scale x gap / ||gradient||^2; any rate where the gradient is 0, which no update moves."""

    needs_gradient_norm = True

    def rate_at(self, gap_n: Tensor, observation: Observation) -> Tensor:
        """gap / ||g||^2, g the gradient of the present batch before clipping."""
        squared_n = observation["gradient_norm"].square()
        return torch.where(squared_n == 0, torch.inf, polyak_rate(gap_n, squared_n))
