"""What a follow-up study was derived from, and what was foretold of it before it ran."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from schemas.base import SHA256_PATTERN, Name, NonNegativeFloat, PositiveFloat, PositiveInt, Spec

Quantity = Literal["warmup_steps", "rate_stable_at_once", "curvature_after_warmup"]


class FrozenLaw(Spec):
    """K0 + Krho gap^rho as it was fitted on the pilot; `optimum` is what the gap is counted from."""

    response: str
    rho: NonNegativeFloat
    k0: NonNegativeFloat
    k_rho: NonNegativeFloat
    optimum: float
    answer: Literal["supported", "not supported", "not identifiable"]


class Prediction(Spec):
    """A number that the follow-up measures, with the interval in which it was foretold; `high` null: no upper end.

    warmup_steps: the shortest linear warmup that is no worse than the best one. rate_stable_at_once: the largest peak
    LR at which every seed trains without warmup. curvature_after_warmup: of the derived arm, in the median.
    """

    quantity: Quantity
    value: float
    low: float
    high: float | None = None

    @model_validator(mode="after")
    def _ordered(self) -> "Prediction":
        if self.low > self.value or (self.high is not None and self.value > self.high):
            raise ValueError("low <= value <= high")
        return self


class Arms(Spec):
    """The names of the schedules that are compared: `linear` is the baseline, tuned over its lengths and rates."""

    derived: Name
    none: Name
    linear: Name
    pilot_best: Name


class DerivedFrom(Spec):
    """Written by `warmup-bench derive`; nothing in it changes a trial, all of it stands in the report."""

    study: Annotated[str, Field(min_length=1, max_length=100)]
    """The pilot's id."""
    spec_hash: Annotated[str, Field(pattern=SHA256_PATTERN)]
    """Of the pilot's resolved document."""
    name: Name
    workload: Name
    optimizer: Name
    law: FrozenLaw
    scale: PositiveFloat
    """The derived rate is scale / law(gap)."""
    scale_from: Literal["stability", "pilot"]
    """Half of the optimizer's stability threshold; or what the pilot sustained at its start without warmup."""
    pilot_gradients: NonNegativeFloat
    """Of the pilot, probes included: charged to the derived arm."""
    configurations: PositiveInt
    """So many each of the tuned arms may try: what the pilot and the derived arm cost together pays for."""
    warmup_needed: bool
    arms: Arms
    predictions: Annotated[tuple[Prediction, ...], Field(strict=False)]
