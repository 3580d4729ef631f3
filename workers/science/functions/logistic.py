"""F5: log(1 + exp(-w)): its curvature exp(-f) (1 - exp(-f)) is no power of its gap."""

import math

import torch
from torch import Tensor

from schemas.functions import Logistic
from schemas.workloads import Start
from workers.science.functions.gap_law import GapLaw
from workers.science.functions.starting_points import from_point_or_gap


class LogisticFunction:
    """Convex; the infimum 0 is not attained. The slope of log curvature over log gap is 1 far out, and changes its sign
    at f = log 2, so a fitted power must be refused."""

    num_parameters = 1
    optimum = 0.0

    def __init__(self, spec: Logistic) -> None:
        self.law = GapLaw(rho=1.0, k0=0.0, k_rho=1.0, is_equality=False)

    def value(self, params_P: Tensor) -> Tensor:
        """f(w)."""
        return -torch.nn.functional.logsigmoid(params_P[0])

    def hessian_norm(self, params_P: Tensor) -> Tensor:
        """||Hessian||."""
        return torch.sigmoid(params_P[0]) * torch.sigmoid(-params_P[0])

    def start(self, start: Start) -> Tensor:
        """-log(exp(gap) - 1), or the given point."""
        # log(e^g - 1) = g + log(1 - e^-g): no overflow for a large gap, no cancellation for a small one
        return from_point_or_gap(start, 1, lambda gap: -(gap + math.log(-math.expm1(-gap))))
