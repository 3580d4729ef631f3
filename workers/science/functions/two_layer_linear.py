"""1/2 (u.v / sqrt(width) - y)^2: two layers, one example, one output; the smallest net that has a catapult."""

import math

import torch
from torch import Tensor

from schemas.functions import TwoLayerLinear
from schemas.workloads import Start


class TwoLayerLinearFunction:
    """Parameters are (u, v), each of length n = width. With the output f = u.v / sqrt(n), the residual r = f - y and
    lam = (|u|^2 + |v|^2) / n, gradient descent is exactly (arXiv 2003.02218, eq. 5; there y = 0):

    r <- r (1 - eta lam) + eta^2 r^2 f / n, lam <- lam + eta r (eta r lam - 4 f) / n.

    Where it starts, lam is about 2 and r about 1: below eta lam = 2 the loss falls, up to about 4 it rises first and
    lam falls (a catapult), above it diverges. No smoothness law holds: at r = 0 lam may be anything.
    """

    optimum = 0.0
    law = None

    def __init__(self, spec: TwoLayerLinear) -> None:
        self._width = spec.width
        self.num_parameters = 2 * spec.width

    def value(self, params_P: Tensor, label: Tensor | None = None) -> Tensor:
        """f(w); `label`: y, a scalar, 0 where none is given."""
        residual = self._output(params_P) if label is None else self._output(params_P) - label
        return 0.5 * residual.square()

    def start(self, start: Start) -> Tensor:
        """None can be stated: `draw_start` has it. Raises ValueError."""
        raise ValueError("start: got a value, allowed nothing: the start is drawn from the seed's initialization")

    def draw_start(self, stream: torch.Generator) -> Tensor:
        """u, then v, each N(0, 1), float64 [P]."""
        return torch.randn(self.num_parameters, generator=stream, dtype=torch.float64)

    def curvature(self, params_P: Tensor) -> Tensor:
        """lam = (|u|^2 + |v|^2) / width, the squared norm of the output's gradient: the Hessian's norm where r = 0."""
        return params_P.square().sum() / self._width

    def hessian_norm(self, params_P: Tensor) -> Tensor:
        """||Hessian|| at y = 0, which is also its largest algebraic eigenvalue, the sharpness."""
        # H = J J' + (f / sqrt(n)) S, J = (v, u) / sqrt(n), S swaps the halves. On span{(v, u), (u, v)} its eigenvalues
        # solve x^2 - lam x - 3 f^2 / n = 0; on the rest they are +- |f| / sqrt(n) <= lam / 2.
        lam, output = self.curvature(params_P), self._output(params_P)
        return 0.5 * lam + (0.25 * lam.square() + 3.0 * output.square() / self._width).sqrt()

    def _output(self, params_P: Tensor) -> Tensor:
        u, v = params_P[: self._width], params_P[self._width :]
        return (u * v).sum() / math.sqrt(self._width)
