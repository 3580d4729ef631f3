"""Closed loops: warmups whose rate follows what training shows, and whose length the run finds."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from schemas.base import Fraction, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Spec, require_one_of


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
KnownOptimum = Annotated[GivenOptimum | ZeroOptimum, Field(discriminator="kind")]
"""Of a rule whose rate is 0 at gap 0, which would never move from a minimum seen so far."""


class Signal(Spec):
    """Where a closed loop reads the loss: the training batch, with a delay of `lag` steps, or its moving average."""

    source: Literal["batch_loss", "probe_loss", "ema"] = "batch_loss"
    lag: NonNegativeInt = 0
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.9


class ClosedLoopWarmup(Spec):
    """What every closed loop states: the applied rate is min(peak_lr, rule); it ends where that first equals peak_lr,
    or after max_steps."""

    NEEDS_BETA2: ClassVar[bool] = False
    SEARCHES: ClassVar[bool] = False
    """Whether it tries updates before it makes one: not with an optimizer whose state nobody can copy."""

    kind: str
    latch: bool = True
    max_steps: PositiveInt | None = None

    @property
    def knowledge(self) -> tuple[str, ...]:
        """What it has to be told beforehand, or reads beyond the loss: what a fair comparison counts."""
        raise NotImplementedError

    def resolved(self, total_steps: int, beta2: float | None) -> Self:
        """The same warmup with its lengths in steps."""
        del total_steps, beta2
        return self

    def bound(self, total_steps: int) -> int | None:
        """Updates after which it is over for sure; None where it may outlast the run."""
        del total_steps
        return self.max_steps


class SmoothnessLawWarmup(ClosedLoopWarmup):
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

    @property
    def knowledge(self) -> tuple[str, ...]:
        """The law's constants and f*."""
        return ("k0", "k_rho", "rho", *_told(self.optimum))

    @model_validator(mode="after")
    def _consistent(self) -> "SmoothnessLawWarmup":
        if self.k0 == 0 and self.k_rho == 0:
            raise ValueError("k0 or k_rho above 0")
        if self.rule == "alimisis" and self.rho != 1.0:
            raise ValueError("rho of 1 for the rule alimisis")
        return self


class PolyakWarmup(ClosedLoopWarmup):
    """Closed loop: min(peak_lr, scale x gap / ||gradient||^2), Polyak's rate (1969): it needs f* alone.

    The gap is that of `signal`, the gradient that of the present batch.
    """

    kind: Literal["polyak"]
    scale: PositiveFloat = 1.0
    optimum: KnownOptimum
    signal: Signal = Signal()

    @property
    def knowledge(self) -> tuple[str, ...]:
        """f*, and the gradient's norm."""
        return (*_told(self.optimum), "gradient_norm")


class RiabininWarmup(ClosedLoopWarmup):
    """Closed loop: min(peak_lr, scale x gap / (k0 + k1 gap + k2 gap^2)) (arXiv 2602.05813), meant for steps of a fixed
    norm (lion, say). It rises until the gap has fallen to sqrt(k0/k2), to 1 / (k1 + 2 sqrt(k0 k2)), and falls behind.

    With `latch` it stays at that maximum until peak_lr is met, and the schedule's own decay follows; without, its
    fall caps the rate as well.
    """

    kind: Literal["riabinin"]
    k0: NonNegativeFloat
    k1: NonNegativeFloat
    k2: PositiveFloat
    scale: PositiveFloat = 1.0
    optimum: KnownOptimum
    signal: Signal = Signal()

    @property
    def knowledge(self) -> tuple[str, ...]:
        """The law's constants and f*."""
        return ("k0", "k1", "k2", *_told(self.optimum))


class _Catapult(ClosedLoopWarmup):
    """A rate found by updates that are tried and taken back: the first one, of start_rate x 2^i, after which the loss
    is not lower, then bisected until the loss after it is at most (1 + delta) of the loss before."""

    SEARCHES = True

    start_rate: PositiveFloat = 1e-4
    delta: PositiveFloat = 0.1
    latch: Literal[True] = True

    @property
    def knowledge(self) -> tuple[str, ...]:
        """Losses after updates that it tries."""
        return ("losses of trial updates",)


class CatapultStartWarmup(_Catapult):
    """Closed loop: eta_c, the rate at which the first update would just raise the loss, then a line as steep as
    peak_lr / W: eta_c + peak_lr (k + 1) / W (arXiv 2406.09405, section 6). W: `steps`, or `fraction` of the budget.

    Saves the share eta_c / peak_lr of a linear warmup's updates, for a search of about 15 forward passes.
    """

    kind: Literal["catapult_start"]
    steps: PositiveInt | None = None
    fraction: Fraction | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        require_one_of(steps=self.steps, fraction=self.fraction)
        return self

    def resolved(self, total_steps: int, beta2: float | None) -> Self:
        """`steps` in the place of `fraction`."""
        del beta2
        return self.model_copy(update={"steps": self.length(total_steps), "fraction": None})

    def bound(self, total_steps: int) -> int | None:
        """W: from there on the line alone is above the peak."""
        length = self.length(total_steps)
        return length if self.max_steps is None else min(length, self.max_steps)

    def length(self, total_steps: int) -> int:
        """W, at least 1."""
        if self.steps is not None:
            return self.steps
        assert self.fraction is not None
        return max(1, round(self.fraction * total_steps))


class PersistentCatapultWarmup(_Catapult):
    """Closed loop without a length: whenever the loss is below the one where it last searched, on the same batch, the
    rate becomes the one at which an update from here would just raise the loss, until it is peak_lr (arXiv 2406.09405).

    A search begins at the present rate, so that the rate never falls.
    """

    kind: Literal["persistent_catapult"]


def _told(optimum: GivenOptimum | ZeroOptimum | RunningMinimumOptimum) -> tuple[str, ...]:
    return ("optimum",) if isinstance(optimum, GivenOptimum) else ()


CLOSED_LOOP_KINDS = ("smoothness_law", "polyak", "riabinin", "catapult_start", "persistent_catapult")
"""The kinds of `ClosedLoopWarmup`."""
