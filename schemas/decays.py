"""Decays: how the rate falls behind its peak, as a factor of peak_lr over the updates."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from schemas.base import Fraction, NonNegativeInt, PositiveFloat, PositiveInt, Spec, require_one_of

Divisor = Annotated[float, Field(ge=1)]
Factor = Annotated[float, Field(gt=0, le=1)]


class _Decay(Spec):
    """What every decay states about itself. u: its progress, 0 at the peak and below 1 at the last update."""

    HAS_WARMUP: ClassVar[bool] = False
    """Whether the curve rises to the peak by itself: the schedule's warmup is then none."""

    def resolved(self, total_steps: int) -> Self:
        """The same decay with its lengths in steps."""
        del total_steps
        return self

    def end_step(self, total_steps: int, first_position: int = 1) -> int:
        """Of a decay that rises to its peak by itself: the update at which it begins to fall."""
        raise NotImplementedError


class ConstantDecay(_Decay):
    """Factor 1 after the warmup."""

    kind: Literal["constant"]


class CosineDecay(_Decay):
    """floor + (1 - floor) (1 + cos(pi u)) / 2."""

    kind: Literal["cosine"]
    floor: Fraction = 0.0


class LinearDecay(_Decay):
    """floor + (1 - floor) (1 - u)."""

    kind: Literal["linear"]
    floor: Fraction = 0.0


class ExponentialDecay(_Decay):
    """gamma^t, t the updates since the peak; or end_factor^u, which would be end_factor at the end of the run."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"kind": "exponential", "end_factor": 0.01}]})

    kind: Literal["exponential"]
    gamma: Factor | None = None
    end_factor: Factor | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        require_one_of(gamma=self.gamma, end_factor=self.end_factor)
        return self


class InverseSqrtDecay(_Decay):
    """sqrt(s / (s + t)), t the updates since the peak, s = timescale_steps: the warmup's length unless given.

    Without it that is sqrt(W / (k + 1)), as in arXiv 1706.03762.
    """

    kind: Literal["inverse_sqrt"]
    timescale_steps: PositiveInt | None = None


class NoamDecay(_Decay):
    """min((k + 1) / W, sqrt(W / (k + 1))), W = warmup_steps, or warmup_fraction of the budget: warmup and decay in one.

    arXiv 1706.03762, eq. 3, is this with peak_lr = 1 / sqrt(d W), d the model's width.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [{"kind": "noam", "warmup_fraction": 0.25}]})
    HAS_WARMUP = True

    kind: Literal["noam"]
    warmup_steps: PositiveInt | None = None
    warmup_fraction: Fraction | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        require_one_of(warmup_steps=self.warmup_steps, warmup_fraction=self.warmup_fraction)
        return self

    def resolved(self, total_steps: int) -> Self:
        """`warmup_steps` in the place of `warmup_fraction`."""
        return self.model_copy(update={"warmup_steps": self.end_step(total_steps), "warmup_fraction": None})

    def end_step(self, total_steps: int, first_position: int = 1) -> int:
        """W, at least 1."""
        del first_position
        if self.warmup_steps is not None:
            return self.warmup_steps
        assert self.warmup_fraction is not None
        return max(1, round(self.warmup_fraction * total_steps))


class WSDDecay(_Decay):
    """Warmup, stable, decay: factor 1, then a cool-down f(v) over the last D updates (arXiv 2405.18392).

    D = cooldown_steps, or cooldown_fraction of the budget. linear: 1 - v; one_minus_sqrt: 1 - sqrt(v); exponential:
    0.5^(t / half_life_steps), t = 1 at its first update (arXiv 2404.06395). All of them: floor + (1 - floor) f.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [{"kind": "wsd", "cooldown_fraction": 0.2}]})

    kind: Literal["wsd"]
    cooldown_steps: NonNegativeInt | None = None
    cooldown_fraction: Fraction | None = None
    cooldown: Literal["linear", "one_minus_sqrt", "exponential"] = "linear"
    half_life_steps: PositiveFloat | None = None
    floor: Fraction = 0.0

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        require_one_of(cooldown_steps=self.cooldown_steps, cooldown_fraction=self.cooldown_fraction)
        if (self.cooldown == "exponential") != (self.half_life_steps is not None):
            raise ValueError("half_life_steps with cooldown exponential, and with no other")
        return self

    def resolved(self, total_steps: int) -> Self:
        """`cooldown_steps` in the place of `cooldown_fraction`."""
        return self.model_copy(update={"cooldown_steps": self.num_steps(total_steps), "cooldown_fraction": None})

    def num_steps(self, total_steps: int) -> int:
        """D."""
        if self.cooldown_steps is not None:
            return self.cooldown_steps
        assert self.cooldown_fraction is not None
        return round(self.cooldown_fraction * total_steps)


class OneCycleDecay(_Decay):
    """Up from 1 / div_factor over warmup_fraction of the budget, down to 1 / (div_factor final_div_factor).

    With three_phase: up, down to 1 / div_factor in as many updates, and on to the end (arXiv 1708.07120; the defaults
    are those of torch.optim.lr_scheduler.OneCycleLR, but for the cycle of the momentum).
    """

    HAS_WARMUP = True

    kind: Literal["one_cycle"]
    warmup_fraction: Fraction = 0.3
    div_factor: Divisor = 25.0
    final_div_factor: Divisor = 1e4
    anneal: Literal["cosine", "linear"] = "cosine"
    three_phase: bool = False
    cycle_momentum: bool = False

    def end_step(self, total_steps: int, first_position: int = 1) -> int:
        """Updates on the way up, at least 1; with three_phase at most half of the run. Libraries round down."""
        if first_position == 0:
            return int(self.warmup_fraction * total_steps)
        up = round(self.warmup_fraction * total_steps)
        return max(1, min(up, total_steps // 2) if self.three_phase else up)


Decay = Annotated[
    ConstantDecay
    | CosineDecay
    | LinearDecay
    | ExponentialDecay
    | InverseSqrtDecay
    | NoamDecay
    | WSDDecay
    | OneCycleDecay,
    Field(discriminator="kind"),
]
