"""What is measured while training, without touching it."""

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
