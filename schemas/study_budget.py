"""What a study may spend, and what is said once it has."""

from pydantic import model_validator

from schemas.base import PositiveFloat, Spec

BUDGET_USED_UP = "budget used up"
"""How the reason of a trial that the study's budget left out begins, and that of a study that ended so."""


class StudyBudget(Spec):
    """What the study may spend. Once it is used up no pack begins any more; those that have begun are finished, and the
    trials of the others are cancelled.
    """

    hours: PositiveFloat | None = None
    """In which at least one pack trains."""
    gradients: PositiveFloat | None = None
    """In training-batch gradients over all trials, probes included as planned: one Hessian-vector product is two."""

    @model_validator(mode="after")
    def _at_least_one(self) -> "StudyBudget":
        if self.hours is None and self.gradients is None:
            raise ValueError("hours, gradients, or both")
        return self
