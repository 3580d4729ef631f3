"""F9: h1 w^2/2 + 1/2 for |w| <= 1/sqrt(h1), exp(sqrt(h1) |w| - 1) outside; its optimum is 1/2."""

import math

import torch
from torch import Tensor

from schemas.functions import FlatThenExponential
from schemas.workloads import Start
from workers.science.functions.gap_law import GapLaw
from workers.science.functions.starting_points import from_point_or_gap


class FlatThenExponentialFunction:
    """C^2 and convex; outside f' = sqrt(h1) f, so the largest rate that does not diverge is 2 (log f + 1) / (h1 f).

    (1, H0, h1)-smooth for any H0 >= h1; the law states H0 = h1.
    """

    num_parameters = 1
    optimum = 0.5

    def __init__(self, spec: FlatThenExponential) -> None:
        self._h1 = spec.h1
        self.law = GapLaw(rho=1.0, k0=spec.h1, k_rho=spec.h1, is_equality=False)

    def value(self, params_P: Tensor) -> Tensor:
        """f(w)."""
        z = math.sqrt(self._h1) * params_P[0]
        return torch.where(z.abs() <= 1.0, 0.5 * z.square() + 0.5, torch.exp(z.abs() - 1.0))

    def hessian_norm(self, params_P: Tensor) -> Tensor:
        """||Hessian||."""
        z = math.sqrt(self._h1) * params_P[0]
        return self._h1 * torch.where(z.abs() <= 1.0, 1.0, torch.exp(z.abs() - 1.0))

    def start(self, start: Start) -> Tensor:
        """The right-hand point of that gap, or the given point."""
        return from_point_or_gap(start, 1, self._at_gap)

    def _at_gap(self, gap: float) -> float:
        z = math.sqrt(2.0 * gap) if gap <= 0.5 else 1.0 + math.log(gap + 0.5)
        return z / math.sqrt(self._h1)
