"""Noise on the gradients of an analytic function, of a known law."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.base import NonNegativeFloat, Spec


class AdditiveNoise(Spec):
    """g + sigma xi, xi ~ N(0, I) anew at every step; of each coordinate its own sigma where it is a list."""

    kind: Literal["additive"]
    sigma: NonNegativeFloat | Annotated[tuple[NonNegativeFloat, ...], Field(min_length=1, strict=False)]

    def abc(self, num_coordinates: int) -> tuple[float, float, float]:
        """(A, B, C) of E ||noise||^2 = A gap + B ||g||^2 + C."""
        sigmas = self.sigma if isinstance(self.sigma, tuple) else (self.sigma,) * num_coordinates
        return 0.0, 0.0, sum(sigma**2 for sigma in sigmas)


class MultiplicativeNoise(Spec):
    """(1 + s xi) g, xi ~ N(0, 1) anew at every step."""

    kind: Literal["multiplicative"]
    s: NonNegativeFloat

    def abc(self, num_coordinates: int) -> tuple[float, float, float]:
        """(0, s^2, 0)."""
        del num_coordinates
        return 0.0, self.s**2, 0.0


class ABCNoise(Spec):
    """g + sqrt((a gap + b ||g||^2 + c) / P) xi, xi ~ N(0, I): the ABC model (design/theory.md, 1.4) with equality."""

    kind: Literal["abc"]
    a: NonNegativeFloat = 0.0
    b: NonNegativeFloat = 0.0
    c: NonNegativeFloat = 0.0

    def abc(self, num_coordinates: int) -> tuple[float, float, float]:
        """As stated."""
        del num_coordinates
        return self.a, self.b, self.c


GradientNoise = Annotated[AdditiveNoise | MultiplicativeNoise | ABCNoise, Field(discriminator="kind")]
