"""What became of a trial: diverged, stalled or trained, and why it ended (design/contracts.md, Outcome)."""

import math

from schemas.trials import Outcome

STALLED_SHARE = 0.95
"""A final loss that is not below this share of the best constant answer's is useless."""

NON_FINITE_LOSS = "non_finite_loss"
NON_FINITE_PARAMETERS = "non_finite_parameters"
DIVERGENCE_FACTOR = "divergence_factor"
NO_POSITIVE_SHARPNESS = "no_positive_sharpness"
"""Its peak is a multiple of 1/sharpness at a start where that is not above 0, or did not converge: it never trained."""
OPTIMUM_ABOVE_START = "optimum_above_start"
"""The optimum that its closed loop was given lies above the loss at its start, so that it is none: it never trained."""
NEVER_BEGAN = frozenset({NO_POSITIVE_SHARPNESS, OPTIMUM_ABOVE_START})
STOP = "stop"
BUDGET = "budget"
DIVERGED = frozenset({NON_FINITE_LOSS, NON_FINITE_PARAMETERS, DIVERGENCE_FACTOR})


def reason_of_end(loss: float, parameter_sum: float, loss_limit: float) -> str:
    """Why the loop ended a trial at the row with this loss and this sum of parameters."""
    if not math.isfinite(loss):
        return NON_FINITE_LOSS
    if not math.isfinite(parameter_sum):
        return NON_FINITE_PARAMETERS
    return DIVERGENCE_FACTOR if abs(loss) > loss_limit else STOP


def outcome_of_classifier(reason: str, final_loss: float, reference_loss: float) -> Outcome:
    """`final_loss` is on the fixed evaluation set, `reference_loss` that of the best constant answer."""
    if reason in DIVERGED:
        return Outcome.DIVERGED
    if reason in NEVER_BEGAN:
        return Outcome.STALLED
    return Outcome.TRAINED if final_loss < STALLED_SHARE * reference_loss else Outcome.STALLED


def outcome_of_function(reason: str, start_loss: float, final_loss: float, has_gap: bool) -> Outcome:
    """Without an optimum there is no gap, and nothing stalls; with one, gaps compare as losses do.

    Whoever has reached its stop has got where it was to get, at the start already or not.
    """
    if reason in DIVERGED:
        return Outcome.DIVERGED
    if reason in NEVER_BEGAN:
        return Outcome.STALLED
    if reason == STOP:
        return Outcome.TRAINED
    return Outcome.STALLED if has_gap and not final_loss < start_loss else Outcome.TRAINED
