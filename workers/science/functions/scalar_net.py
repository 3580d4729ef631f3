"""F6, F7: 1/2 (w_1 w_2 ... w_depth - 1)^2, the smallest deep network."""

import torch
from torch import Tensor

from schemas.functions import ScalarNet
from schemas.workloads import Start
from workers.science.functions.starting_points import from_point_or_gap


class ScalarNetFunction:
    """On the balanced ray (all factors s) the curvature grows like gap^((depth - 1)/depth): depth 2 is exactly
    2 + 3 sqrt(2 gap) for s >= 1. Off the ray no law holds: at (t, 1/t) the gap is 0 and the curvature t^2 + t^-2."""

    optimum = 0.0
    law = None

    def __init__(self, spec: ScalarNet) -> None:
        self.num_parameters = spec.depth

    def value(self, params_P: Tensor) -> Tensor:
        """f(w)."""
        product = params_P[0]
        for index in range(1, self.num_parameters):  # torch.prod has no derivative at two zeros under vmap
            product = product * params_P[index]
        return 0.5 * (product - 1.0).square()

    def hessian_norm(self, params_P: Tensor) -> Tensor:
        """||Hessian||, of its depth x depth matrix."""
        # without_two[i, j]: the product of all factors but i and j (but i alone on the diagonal)
        same = torch.eye(self.num_parameters, dtype=torch.bool, device=params_P.device)
        left_out = same[:, None, :] | same[None, :, :]
        without_two = torch.where(left_out, 1.0, params_P).prod(2)
        gradient_P = without_two.diagonal()
        residual = params_P.prod() - 1.0
        hessian_PP = gradient_P[:, None] * gradient_P + residual * torch.where(same, 0.0, without_two)
        norm: Tensor = torch.linalg.matrix_norm(hessian_PP, ord=2)
        return norm

    def start(self, start: Start) -> Tensor:
        """The balanced point of that gap with factors above 1, or the given point."""
        depth = self.num_parameters
        return from_point_or_gap(start, depth, lambda gap: (1.0 + (2.0 * gap) ** 0.5) ** (1.0 / depth))
