"""What is measured while training, without touching it."""

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field

from schemas.base import Name, NonNegativeInt, PositiveInt, Spec


class ProbeBatch(Spec):
    """Fixed batches drawn once per study: `count` batches of `size` examples (null: the training batch size)."""

    size: PositiveInt | None = None
    count: PositiveInt = 1


class SecantSmoothness(Spec):
    """||g(w_{k+1}) - g(w_k)|| / ||w_{k+1} - w_k|| on one fixed probe batch, along the update. Cost: 2 gradients."""

    name: Name | None = None
    kind: Literal["secant_smoothness"]
    every_steps: PositiveInt
    during_warmup: NonNegativeInt = 0
    batch: ProbeBatch = ProbeBatch()


class Sharpness(Spec):
    """The largest algebraic eigenvalue of the Hessian by batched Lanczos. Cost: a gradient, and 2 for each HVP."""

    name: Name | None = None
    kind: Literal["sharpness"]
    every_steps: PositiveInt
    during_warmup: NonNegativeInt = 0
    relative_tolerance: Annotated[float, Field(gt=0, lt=1)] = 0.01
    max_hvps: Annotated[int, Field(ge=4, le=200)] = 24
    batch: ProbeBatch = ProbeBatch()


Probe = Annotated[SecantSmoothness | Sharpness, Field(discriminator="kind")]


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
