"""F6, F7: 1/2 (w_1 w_2 ... w_depth - 1)^2, the smallest deep network."""

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

    def start(self, start: Start) -> Tensor:
        """The balanced point of that gap with factors above 1, or the given point."""
        depth = self.num_parameters
        return from_point_or_gap(start, depth, lambda gap: (1.0 + (2.0 * gap) ** 0.5) ** (1.0 / depth))
