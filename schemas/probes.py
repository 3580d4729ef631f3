"""What is measured while training, without touching it."""

from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from schemas.base import MAX_INT, Name, NonNegativeInt, PositiveInt, Spec


class ProbeBatch(Spec):
    """Fixed batches drawn once per study: `count` batches of `size` examples (null: the training batch size)."""

    size: PositiveInt | None = None
    count: PositiveInt = 1


SecantPoint = Literal["endpoint", "midpoint", "grid"]
FRACTIONS: dict[SecantPoint, tuple[float, ...]] = {
    "endpoint": (1.0,),
    "midpoint": (0.5,),
    "grid": (1 / 6, 2 / 6, 0.5, 4 / 6, 5 / 6),
}
"""Point -> how far along the update it is taken."""


class NoiseBatch(ProbeBatch):
    """As a probe batch; noise is what differs between at least two of them."""

    count: Annotated[int, Field(ge=2, le=MAX_INT)] = 8


class _Probe(Spec):
    """When a probe is taken; and what a point costs: gradients and HVPs per batch, or as many HVPs as it takes."""

    name: Name | None = None
    every_steps: PositiveInt
    during_warmup: NonNegativeInt = 0

    GRADIENTS: ClassVar[int] = 1
    hvps_per_batch: ClassVar[int] = 0
    is_iterative: ClassVar[bool] = False

    @property
    def gradients_per_batch(self) -> int:
        """Of a point."""
        return self.GRADIENTS

    @property
    def takes_hvps(self) -> bool:
        """Whether it differentiates twice."""
        return self.is_iterative or self.hvps_per_batch > 0


class _Eigenvalue(_Probe):
    """An eigenvalue by batched Lanczos: a gradient, and as many products as it takes, `max_hvps` a batch at most."""

    is_iterative: ClassVar[bool] = True

    relative_tolerance: Annotated[float, Field(gt=0, lt=1)] = 0.01
    max_hvps: Annotated[int, Field(ge=4, le=200)] = 24
    batch: ProbeBatch = ProbeBatch()


class SecantSmoothness(_Probe):
    """||g(w) - g(w_k)|| / ||w - w_k|| on one fixed probe batch, w on the way from w_k to w_{k+1}.

    `points`: `endpoint` (w = w_{k+1}), `midpoint`, `grid` (the largest of five, 1/6 ... 5/6 of the way; arXiv
    1905.11881), or a list of these, each then a row of its own, `name.point`. Cost: a gradient, and one for each w.
    """

    kind: Literal["secant_smoothness"]
    points: SecantPoint | Annotated[tuple[SecantPoint, ...], Field(strict=False, min_length=1, max_length=3)] = (
        "endpoint"
    )
    batch: ProbeBatch = ProbeBatch()

    @property
    def all_points(self) -> tuple[SecantPoint, ...]:
        """Each once, as stated."""
        return (self.points,) if isinstance(self.points, str) else tuple(dict.fromkeys(self.points))

    @property
    def gradients_per_batch(self) -> int:
        """At w_k, and at each w."""
        return 1 + len({fraction for point in self.all_points for fraction in FRACTIONS[point]})


class SecantNoise(_Probe):
    """The same with another batch at the other end: it reads the gradient's noise, and says so. Cost: 2 gradients."""

    GRADIENTS: ClassVar[int] = 2

    kind: Literal["secant_noise"]
    batch: NoiseBatch = NoiseBatch(count=2)


class GradientNoise(_Probe):
    """E ||g_B - grad||^2 over the probe batches, and the noise scale in examples. Cost: a gradient a batch."""

    kind: Literal["gradient_noise"]
    batch: NoiseBatch = NoiseBatch()


class Sharpness(_Eigenvalue):
    """The largest algebraic eigenvalue of the Hessian by batched Lanczos. Cost: a gradient, and 2 for each HVP."""

    kind: Literal["sharpness"]


class HessianNorm(_Eigenvalue):
    """The largest magnitude of the Hessian's eigenvalues, of either sign."""

    kind: Literal["hessian_norm"]


class MostNegativeEigenvalue(_Eigenvalue):
    """The smallest algebraic eigenvalue of the Hessian."""

    kind: Literal["most_negative_eigenvalue"]


class PreconditionedSharpness(_Eigenvalue):
    """The largest eigenvalue of P^-1/2 H P^-1/2, P the optimizer's preconditioner in the step about to be made."""

    kind: Literal["preconditioned_sharpness"]


class GaussNewton(_Eigenvalue):
    """The largest eigenvalue of the Gauss-Newton matrix: the Hessian without the outputs' own curvature."""

    kind: Literal["gauss_newton"]


class DirectionalSharpness(_Probe):
    """d^T H d / ||d||^2 along the update d. Cost: a gradient and one HVP."""

    hvps_per_batch: ClassVar[int] = 1

    kind: Literal["directional_sharpness"]
    batch: ProbeBatch = ProbeBatch()


Probe = Annotated[
    SecantSmoothness
    | Sharpness
    | HessianNorm
    | MostNegativeEigenvalue
    | PreconditionedSharpness
    | GaussNewton
    | DirectionalSharpness
    | SecantNoise
    | GradientNoise,
    Field(discriminator="kind"),
]


def probe_steps(every_steps: int, during_warmup: int, total: int, warmup_steps: int, stride: int = 1) -> list[int]:
    """The steps at which a probe asks to be taken in a trial; with a `stride`, every so many of them.

    Regular points and those of the warmup are thinned apart: so all schedules keep the same regular steps.
    """
    regular = set(range(0, total, every_steps * stride))
    extra = {index * warmup_steps // during_warmup for index in range(0, during_warmup, stride)}
    return sorted(regular | (extra if warmup_steps else set()))


def thinning_text(name: str, thinned: Iterable[tuple[int, int]], budget: float) -> str:
    """What the budget left of a probe's points. `thinned`: (kept, asked for) of each kind of trial."""
    counts = " or ".join(f"{kept} of {asked}" for kept, asked in sorted(set(thinned)))
    return f"{name}: measured at {counts} points asked for in a trial, probe_budget {budget:g} pays for no more"
