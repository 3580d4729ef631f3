"""Warmups: how the rate rises to its peak, as a factor of peak_lr over the updates."""

import math
from bisect import bisect_left
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from schemas.base import Fraction, NonNegativeFloat, NonNegativeInt, PositiveFloat, Spec, require_one_of
from schemas.closed_loops import (
    CatapultStartWarmup,
    PersistentCatapultWarmup,
    PolyakWarmup,
    RiabininWarmup,
    SmoothnessLawWarmup,
)
from schemas.plugins import Plugin
from schemas.second_moment import first_rectified, radam_factor, time_constant

Below1 = Annotated[float, Field(ge=0, lt=1)]
Between0And1 = Annotated[float, Field(gt=0, lt=1)]
Exponent = Annotated[float, Field(gt=0, le=50)]

ALMOST = 0.99
"""An asymptotic warmup counts as over once its factor is this."""


class _Warmup(Spec):
    """What every warmup that is known before the run states about itself."""

    ENDS_AT_PEAK: ClassVar[bool] = True
    """Whether the rate is the peak where the decay begins."""
    NEEDS_BETA2: ClassVar[bool] = False
    """Whether it follows from the decay of the optimizer's second moment."""

    def resolved(self, total_steps: int, beta2: float | None) -> Self:
        """The same warmup with its length in steps and its beta2 filled in."""
        del total_steps, beta2
        return self

    def end_step(self, total_steps: int) -> int:
        """The update at which the decay begins."""
        raise NotImplementedError

    def length(self, total_steps: int) -> int:
        """How many updates count as warmup: what is recorded, and what `during_warmup` spreads its points over."""
        return self.end_step(total_steps)


class _Lengthed(_Warmup):
    """A warmup whose length is `steps`, or `fraction` of the budget (rounded to steps when resolved)."""

    steps: NonNegativeInt | None = None
    fraction: Fraction | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        require_one_of(steps=self.steps, fraction=self.fraction)
        return self

    def resolved(self, total_steps: int, beta2: float | None) -> Self:
        """`steps` in the place of `fraction`."""
        del beta2
        return self.model_copy(update={"steps": self.end_step(total_steps), "fraction": None})

    def end_step(self, total_steps: int) -> int:
        """W."""
        if self.steps is not None:
            return self.steps
        assert self.fraction is not None
        return round(self.fraction * total_steps)


class _Asymptotic(_Warmup):
    """A factor that only tends to 1: it multiplies the decay from the first update on, and may outlast the run."""

    ENDS_AT_PEAK = False

    def end_step(self, total_steps: int) -> int:
        """0."""
        del total_steps
        return 0


class _FromBeta2(_Warmup):
    """A warmup that follows from beta2: the optimizer's, unless one is given."""

    NEEDS_BETA2 = True

    beta2: Below1 | None = None

    def resolved(self, total_steps: int, beta2: float | None) -> Self:
        """With the optimizer's beta2 where none is given."""
        del total_steps
        return self if self.beta2 is not None or beta2 is None else self.model_copy(update={"beta2": beta2})


class NoWarmup(_Warmup):
    """Factor 1 from the first update."""

    kind: Literal["none"]

    def end_step(self, total_steps: int) -> int:
        """0."""
        del total_steps
        return 0


class LinearWarmup(_Lengthed):
    """Factor s + (1 - s) (k + 1) / W for update k < W, s = start_factor."""

    kind: Literal["linear"]
    start_factor: Below1 = 0.0


class ExponentialConvexWarmup(_Lengthed):
    """Factor (exp(alpha x) - 1) / (exp(alpha) - 1), x = (k + 1) / W (arXiv 2505.23420)."""

    kind: Literal["exponential_convex"]
    alpha: Exponent = 1.5


class PolynomialWarmup(_Lengthed):
    """Factor x^alpha, x = (k + 1) / W (arXiv 2505.23420; its code's own default is 3)."""

    kind: Literal["polynomial"]
    alpha: Exponent = 1.5


class SqrtWarmup(_Lengthed):
    """Factor sqrt(x), x = (k + 1) / W: fast at first."""

    kind: Literal["sqrt"]


class CosineWarmup(_Lengthed):
    """Factor (1 - cos(pi x)) / 2, x = (k + 1) / W: gentle at both ends."""

    kind: Literal["cosine"]


class GeometricWarmup(_Lengthed):
    """Factor s^(1 - x), x = (k + 1) / W, s = start_factor: the same ratio at each update."""

    kind: Literal["geometric"]
    start_factor: Between0And1 = 0.01


class PiecewiseLinearWarmup(_Lengthed):
    """Two straight lines that meet at x = knee_position, factor knee_factor; x = (k + 1) / W (arXiv 2505.23420)."""

    kind: Literal["piecewise_linear"]
    knee_position: Between0And1 = 0.5
    knee_factor: Between0And1 = 0.1
    start_factor: Below1 = 0.0


class ConstantLowWarmup(_Lengthed):
    """Factor `factor` until x = (k + 1) / W is 1, then the peak: a step (arXiv 1512.03385, section 4.2)."""

    kind: Literal["constant_low"]
    factor: Between0And1 = 0.1


class UntunedLinearWarmup(_FromBeta2):
    """Factor min(1, (1 - beta2) (k + 1) / 2): a linear warmup of 2 / (1 - beta2) updates (arXiv 1910.04209)."""

    kind: Literal["untuned_linear"]

    def end_step(self, total_steps: int) -> int:
        """W: 2 / (1 - beta2), rounded up (but for what float64 cannot tell from an integer)."""
        del total_steps
        assert self.beta2 is not None, "resolved with the optimizer's beta2"
        length = 2.0 * time_constant(self.beta2)
        return round(length) if abs(length - round(length)) < 1e-9 * length else math.ceil(length)


class ExponentialConcaveWarmup(_Asymptotic):
    """Factor 1 - exp(-(k + 1) / tau), times the decay; tau = tau_steps, or tau_fraction of the budget."""

    kind: Literal["exponential_concave"]
    tau_steps: PositiveFloat | None = None
    tau_fraction: PositiveFloat | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        require_one_of(tau_steps=self.tau_steps, tau_fraction=self.tau_fraction)
        return self

    def resolved(self, total_steps: int, beta2: float | None) -> Self:
        """`tau_steps` in the place of `tau_fraction`."""
        del beta2
        return self.model_copy(update={"tau_steps": self.tau(total_steps), "tau_fraction": None})

    def tau(self, total_steps: int) -> float:
        """The time constant in updates: a real number, never rounded."""
        if self.tau_steps is not None:
            return self.tau_steps
        assert self.tau_fraction is not None
        return self.tau_fraction * total_steps

    def length(self, total_steps: int) -> int:
        """The first t = k + 1 whose factor is ALMOST, at most the run's."""
        return _exponential_length(self.tau(total_steps), total_steps)


class UntunedExponentialWarmup(_FromBeta2, _Asymptotic):
    """Factor 1 - exp(-(1 - beta2) (k + 1)), times the decay (arXiv 1910.04209)."""

    kind: Literal["untuned_exponential"]

    def length(self, total_steps: int) -> int:
        """The first t = k + 1 whose factor is ALMOST, at most the run's."""
        assert self.beta2 is not None, "resolved with the optimizer's beta2"
        return _exponential_length(time_constant(self.beta2), total_steps)


class RAdamWarmup(_FromBeta2, _Asymptotic):
    """RAdam's rectification as a factor of the rate, times the decay (arXiv 1908.03265, eq. 8).

    Shifted so that the first update has the first factor there is: that of the first t with rho_t > 4.
    """

    kind: Literal["radam"]

    def length(self, total_steps: int) -> int:
        """The first t = k + 1 whose factor is ALMOST, at most the run's."""
        beta2 = self.beta2
        assert beta2 is not None, "resolved with the optimizer's beta2"
        shift = first_rectified(beta2) - 1
        reached = bisect_left(range(1, total_steps), ALMOST, key=lambda t: radam_factor(float(t + shift), beta2))
        return min(reached + 1, total_steps)


class PluginWarmup(Plugin, _Lengthed):
    """A schedule of your own: `f(step, warmup_steps, total_steps, **options)` is the factor of update `step`, 0 to 1.

    It is asked for every update of the run; the decay multiplies it after `warmup_steps`. A schedule that has its own
    decay stands beside `decay: {kind: constant}`.
    """

    GROUP = "schedules"
    ENDS_AT_PEAK = False  # nobody can say


class ReplayWarmup(_Warmup):
    """Rates that another run applied, most often an adaptive one, in open loop: update k is made at
    rates[k] x (this trial's peak_lr / `peak_lr`), at the same peak the very same rate. The decay begins behind them.

    `Results.replay(trial_id)` of the notebook door writes this from a trial's records.
    """

    ENDS_AT_PEAK = False  # whatever stood at the end

    kind: Literal["replay"]
    peak_lr: PositiveFloat
    """Of the run that was recorded."""
    rates: Annotated[tuple[NonNegativeFloat, ...], Field(min_length=1, max_length=1_000_000, strict=False)]

    @model_validator(mode="after")
    def _below_the_peak(self) -> Self:
        if max(self.rates) > self.peak_lr:
            raise ValueError("rates of at most peak_lr, the peak of the run that was recorded")
        return self

    def end_step(self, total_steps: int) -> int:
        """As many updates as there are rates."""
        del total_steps
        return len(self.rates)


Warmup = Annotated[
    NoWarmup
    | LinearWarmup
    | ExponentialConvexWarmup
    | PolynomialWarmup
    | SqrtWarmup
    | CosineWarmup
    | GeometricWarmup
    | PiecewiseLinearWarmup
    | ConstantLowWarmup
    | UntunedLinearWarmup
    | ExponentialConcaveWarmup
    | UntunedExponentialWarmup
    | RAdamWarmup
    | SmoothnessLawWarmup
    | PolyakWarmup
    | RiabininWarmup
    | CatapultStartWarmup
    | PersistentCatapultWarmup
    | ReplayWarmup
    | PluginWarmup,
    Field(discriminator="kind"),
]


def _exponential_length(tau: float, total_steps: int) -> int:
    return min(math.ceil(tau * -math.log1p(-ALMOST)), total_steps)
