"""Warmup and decay: how the applied rate follows from peak_lr, step by step."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from schemas.base import Fraction, Name, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Spec
from schemas.learning_rates import PeakLRs


class _Lengthed(Spec):
    """A warmup whose length is `steps`, or `fraction` of the budget (rounded to steps when resolved)."""

    steps: NonNegativeInt | None = None
    fraction: Fraction | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> "_Lengthed":
        if (self.steps is None) == (self.fraction is None):
            raise ValueError("exactly one of steps, fraction")
        return self


class NoWarmup(Spec):
    """Factor 1 from the first update."""

    kind: Literal["none"]


class LinearWarmup(_Lengthed):
    """Factor s + (1 - s) (k + 1) / W for update k < W, s = start_factor."""

    kind: Literal["linear"]
    start_factor: Annotated[float, Field(ge=0, lt=1)] = 0.0


class ExponentialConvexWarmup(_Lengthed):
    """Factor (exp(alpha x) - 1) / (exp(alpha) - 1), x = (k + 1) / W (arXiv 2505.23420)."""

    kind: Literal["exponential_convex"]
    alpha: Annotated[float, Field(gt=0, le=50)] = 1.5


class GivenOptimum(Spec):
    """f* is known."""

    kind: Literal["given"]
    value: float


class ZeroOptimum(Spec):
    """f* is taken as 0."""

    kind: Literal["zero"]


class RunningMinimumOptimum(Spec):
    """f* is the smallest signal seen so far: the gap is 0 at each new minimum."""

    kind: Literal["running_minimum"]


Optimum = Annotated[GivenOptimum | ZeroOptimum | RunningMinimumOptimum, Field(discriminator="kind")]


class Signal(Spec):
    """Where a closed loop reads the loss: the training batch, with a delay of `lag` steps, or its moving average."""

    source: Literal["batch_loss", "probe_loss", "ema"] = "batch_loss"
    lag: NonNegativeInt = 0
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.9


class SmoothnessLawWarmup(Spec):
    """Closed loop: the applied rate is min(peak_lr, scale x rule(gap)) (design/theory.md, section 2).

    descent: 1 / (k0 + k_rho gap^rho); liu: c min(1/k0, 1/(3^rho k_rho gap^rho)); alimisis: 1 / (10 k0 + 20 k_rho gap).
    """

    kind: Literal["smoothness_law"]
    rule: Literal["descent", "liu", "alimisis"]
    k0: NonNegativeFloat
    k_rho: NonNegativeFloat
    rho: PositiveFloat = 1.0
    c: PositiveFloat = 0.5
    scale: PositiveFloat = 1.0
    optimum: Optimum
    signal: Signal = Signal()
    latch: bool = True
    max_steps: PositiveInt | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "SmoothnessLawWarmup":
        if self.k0 == 0 and self.k_rho == 0:
            raise ValueError("k0 or k_rho above 0")
        if self.rule == "alimisis" and self.rho != 1.0:
            raise ValueError("rho of 1 for the rule alimisis")
        return self


Warmup = Annotated[NoWarmup | LinearWarmup | ExponentialConvexWarmup | SmoothnessLawWarmup, Field(discriminator="kind")]


class ConstantDecay(Spec):
    """Factor 1 after the warmup."""

    kind: Literal["constant"]


class CosineDecay(Spec):
    """floor + (1 - floor) (1 + cos(pi u)) / 2."""

    kind: Literal["cosine"]
    floor: Fraction = 0.0


class LinearDecay(Spec):
    """floor + (1 - floor) (1 - u)."""

    kind: Literal["linear"]
    floor: Fraction = 0.0


Decay = Annotated[ConstantDecay | CosineDecay | LinearDecay, Field(discriminator="kind")]


class Schedule(Spec):
    """A warmup, then a decay, of one peak."""

    name: Name | None = None
    warmup: Warmup
    decay: Decay
    convention: Literal["ours", "torch", "hf", "timm", "optax", "fairseq"] = "ours"
    peak_lrs: PeakLRs | None = None

    def resolve(self, total_steps: int) -> "Schedule":
        """The same schedule with its warmup in steps; a warmup of 0 or 1 steps is none: it is the same trial."""
        warmup_steps = self.warmup_steps(total_steps)
        if warmup_steps is None or isinstance(self.warmup, NoWarmup):
            return self
        if warmup_steps <= 1:
            return self.model_copy(update={"warmup": NoWarmup(kind="none")})
        return self.model_copy(
            update={"warmup": self.warmup.model_copy(update={"steps": warmup_steps, "fraction": None})}
        )

    def warmup_steps(self, total_steps: int) -> int | None:
        """W in steps; None where the run itself finds it (closed loop)."""
        warmup = self.warmup
        if isinstance(warmup, NoWarmup):
            return 0
        if isinstance(warmup, SmoothnessLawWarmup):
            return None
        if warmup.steps is not None:
            return warmup.steps
        assert warmup.fraction is not None
        return round(warmup.fraction * total_steps)
