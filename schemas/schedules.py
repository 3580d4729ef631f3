"""A schedule: how the applied rate follows from peak_lr, step by step."""

from typing import Any

from schemas.base import Name, Spec
from schemas.closed_loops import (
    CatapultStartWarmup,
    ClosedLoopWarmup,
    GivenOptimum,
    Optimum,
    PersistentCatapultWarmup,
    PolyakWarmup,
    RiabininWarmup,
    RunningMinimumOptimum,
    Signal,
    SmoothnessLawWarmup,
    ZeroOptimum,
)
from schemas.conventions import HF_TIMESCALE, Convention, first_position
from schemas.decays import (
    ConstantDecay,
    CosineDecay,
    Decay,
    ExponentialDecay,
    InverseSqrtDecay,
    LinearDecay,
    NoamDecay,
    OneCycleDecay,
    WSDDecay,
)
from schemas.learning_rates import PeakLRs
from schemas.warmups import ExponentialConvexWarmup, LinearWarmup, NoWarmup, ReplayWarmup, Warmup

__all__ = [
    "CatapultStartWarmup",
    "ClosedLoopWarmup",
    "ConstantDecay",
    "CosineDecay",
    "Decay",
    "ExponentialConvexWarmup",
    "ExponentialDecay",
    "GivenOptimum",
    "InverseSqrtDecay",
    "LinearDecay",
    "LinearWarmup",
    "NoWarmup",
    "NoamDecay",
    "OneCycleDecay",
    "Optimum",
    "PersistentCatapultWarmup",
    "PolyakWarmup",
    "ReplayWarmup",
    "RiabininWarmup",
    "RunningMinimumOptimum",
    "Schedule",
    "Signal",
    "SmoothnessLawWarmup",
    "WSDDecay",
    "Warmup",
    "ZeroOptimum",
]


FRACTIONS = ("fraction", "warmup_fraction", "cooldown_fraction")
"""Fields of warmups and decays that are lengths as a part of the budget (tau_fraction is no length)."""


class Schedule(Spec):
    """A warmup, then a decay, of one peak."""

    name: Name | None = None
    warmup: Warmup
    decay: Decay
    convention: Convention = "ours"
    peak_lrs: PeakLRs | None = None

    @property
    def first_position(self) -> int:
        """j, where update k stands at x = (k + j) / W of the warmup: 1 in ours, 0 in most of the others."""
        return first_position(self.convention, self.decay.kind)

    @property
    def needs_beta2(self) -> bool:
        """Whether the warmup follows from the decay of the optimizer's second moment."""
        return self.warmup.NEEDS_BETA2

    @property
    def fits_longer_runs(self) -> bool:
        """Whether a run that it fits in says that it fits in every longer one: not where parts of the budget meet."""
        parts = (getattr(part, name, None) for part in (self.warmup, self.decay) for name in FRACTIONS)
        meets = self.convention != "ours" or isinstance(self.decay, WSDDecay)
        return not meets or all(part is None for part in parts)

    def with_beta2(self, beta2: float | None) -> "Schedule":
        """The same schedule, its warmup's beta2 filled in where it needs one and none is given."""
        if isinstance(self.warmup, ClosedLoopWarmup) or not self.needs_beta2:
            return self
        return self.model_copy(update={"warmup": self.warmup.resolved(0, beta2)})

    def resolve(self, total_steps: int, beta2: float | None = None) -> "Schedule":
        """The same schedule with its lengths in steps and, where its warmup needs one, the optimizer's beta2.

        A warmup of 0 steps is none, and so is one of 1 step where its last update is made at the peak.
        """
        changes: dict[str, Any] = {}
        if (decay := self.decay.resolved(total_steps)) != self.decay:
            changes["decay"] = decay
        if isinstance(self.warmup, ClosedLoopWarmup):
            if (loop := self.warmup.resolved(total_steps, beta2)) != self.warmup:
                changes["warmup"] = loop
        else:
            warmup = self.warmup.resolved(total_steps, beta2)
            is_none = warmup.ENDS_AT_PEAK and warmup.end_step(total_steps) <= self.first_position
            warmup = NoWarmup(kind="none") if is_none else warmup
            if warmup != self.warmup:
                changes["warmup"] = warmup
            if is_none and self.convention == "hf" and self.decay == InverseSqrtDecay(kind="inverse_sqrt"):
                changes["decay"] = InverseSqrtDecay(kind="inverse_sqrt", timescale_steps=HF_TIMESCALE)
        return self.model_copy(update=changes) if changes else self

    def end_step(self, total_steps: int) -> int | None:
        """The update at which the decay begins; None where the run itself finds it (closed loop)."""
        if self.decay.HAS_WARMUP:
            return self.decay.end_step(total_steps, self.first_position)
        return None if isinstance(self.warmup, ClosedLoopWarmup) else self.warmup.end_step(total_steps)

    def reaches_peak(self, total_steps: int) -> bool | None:
        """Whether an update is made at the peak where the warmup ends; None where the run itself finds it."""
        if isinstance(self.warmup, ClosedLoopWarmup):
            return None
        end_step = self.end_step(total_steps)
        assert end_step is not None
        if isinstance(self.decay, OneCycleDecay) and self.convention == "torch":
            return (self.decay.warmup_fraction * total_steps).is_integer()  # its phases end between updates
        return self.warmup.ENDS_AT_PEAK and max(end_step, self.first_position) - self.first_position < total_steps

    def warmup_steps(self, total_steps: int) -> int | None:
        """How many updates count as warmup; None where the run itself finds it (closed loop).

        W; of an asymptotic warmup, the updates until its factor is 0.99, or all where it stays below.
        """
        if self.decay.HAS_WARMUP or isinstance(self.warmup, ClosedLoopWarmup):
            return self.end_step(total_steps)
        return self.warmup.length(total_steps)
