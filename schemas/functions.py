"""Analytic functions, whose answers are known (design/theory.md, section 1.5)."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.base import NonNegativeFloat, PositiveFloat, Spec


class Quadratic(Spec):
    """1/2 sum_i eigenvalue_i w_i^2. With a negative eigenvalue there is no optimum and no gap."""

    kind: Literal["quadratic"]
    eigenvalues: Annotated[tuple[float, ...], Field(min_length=1, max_length=100_000, strict=False)]


class Cosh(Spec):
    """F1: (k0/k1) (cosh(sqrt(k1) w) - 1); ||Hessian|| = k0 + k1 gap, equality everywhere."""

    kind: Literal["cosh"]
    k0: PositiveFloat = 1.0
    k1: PositiveFloat = 1.0


class Power(Spec):
    """F2: w^p, p even >= 4; rho = 1 - 2/p, K0 = 0, Krho = p (p - 1)."""

    kind: Literal["power"]
    p: Annotated[int, Field(ge=4, le=1000, multiple_of=2)] = 4


class Exponential(Spec):
    """F3: exp(-w); rho = 1, K0 = 0, K1 = 1; the infimum 0 is not attained."""

    kind: Literal["exponential"]


class InversePower(Spec):
    """F4: w^(-q), w > 0; rho = 1 + 2/q, K0 = 0, Krho = q (q + 1)."""

    kind: Literal["inverse_power"]
    q: PositiveFloat = 2.0


class Logistic(Spec):
    """F5: log(1 + exp(-w)): not a power law of its gap."""

    kind: Literal["logistic"]


class ScalarNet(Spec):
    """F6, F7: 1/2 (prod_i w_i - 1)^2 over `depth` scalar factors."""

    kind: Literal["scalar_net"]
    depth: Annotated[int, Field(ge=2, le=64)] = 2


class RiverValley(Spec):
    """(k0/k1)(cosh(sqrt(k1) a) - 1) + 1/2 sum_i eigenvalue_i b_i^2: a steep wall and a flat river."""

    kind: Literal["river_valley"]
    k0: PositiveFloat = 1.0
    k1: PositiveFloat = 1.0
    eigenvalues: Annotated[tuple[NonNegativeFloat, ...], Field(min_length=1, max_length=100_000, strict=False)]


class QuadraticThenExponential(Spec):
    """F8: w^2 for |w| <= 1, 2 exp(|w| - 1) - 1 outside."""

    kind: Literal["quadratic_then_exponential"]


class FlatThenExponential(Spec):
    """F9: h1 w^2/2 + 1/2 for |w| <= 1/sqrt(h1), exp(sqrt(h1) |w| - 1) outside; the optimum is 1/2."""

    kind: Literal["flat_then_exponential"]
    h1: PositiveFloat = 1.0


class TwoLayerLinear(Spec):
    """1/2 (u.v / sqrt(width) - y)^2, the smallest net with a catapult (arXiv 2003.02218): parameters (u, v).

    u, v ~ N(0, 1) from the seed's initialization, so that `start` is left out. y = label_noise x N(0, 1), drawn anew at
    every step from the seed's noise; probes see y = 0. A row's loss, and so its gap, is that of the step's own y.
    """

    kind: Literal["two_layer_linear"]
    width: Annotated[int, Field(ge=1, le=50_000)] = 512
    label_noise: NonNegativeFloat = 0.0


AnalyticFunction = Annotated[
    Quadratic
    | Cosh
    | Power
    | Exponential
    | InversePower
    | Logistic
    | ScalarNet
    | RiverValley
    | QuadraticThenExponential
    | FlatThenExponential
    | TwoLayerLinear,
    Field(discriminator="kind"),
]
