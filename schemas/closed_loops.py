"""Closed loops: warmups whose rate follows the loss, and whose length the run finds."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from schemas.base import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Spec


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

    NEEDS_BETA2: ClassVar[bool] = False

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
