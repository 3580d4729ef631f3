"""What a study compares, and what counts as the same."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.base import Name, NonNegativeFloat, Spec
from schemas.closed_loops import GivenOptimum, ZeroOptimum

Metric = Literal["validation_loss", "validation_accuracy", "train_eval_loss", "train_loss"]
"""What may choose: the test set never does."""

HIGHER_IS_BETTER: frozenset[str] = frozenset({"validation_accuracy"})


class FittedOptimum(Spec):
    """f* is fitted jointly with the exponent of the law, K0 taken as 0 (both cannot be: docs/laws.md)."""

    kind: Literal["fitted"]


LawOptimum = Annotated[GivenOptimum | ZeroOptimum | FittedOptimum, Field(discriminator="kind")]


class Analysis(Spec):
    """`tuned` is what each schedule may choose for itself on `metric`; `equivalence_margin` is in the metric's unit.

    `optimum`: what the gap of the smoothness law is counted from; null is the function's own, and 0 for a data set.
    """

    compare: Literal["schedule"] = "schedule"
    baseline: Name | None = None
    tuned: Annotated[tuple[str, ...], Field(strict=False)] = ("peak_lr",)
    metric: Metric = "validation_loss"
    target: float | None = None
    equivalence_margin: NonNegativeFloat | None = None
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    optimum: LawOptimum | None = None
