"""What a trainer says of one trial when it is final."""

import math

from schemas.schedules import ClosedLoopWarmup
from schemas.trials import Member, Outcome, TrialResult
from workers.science.evaluation import COLUMNS, TEST_COLUMNS
from workers.science.history import NOT_YET, History
from workers.science.outcome import BUDGET, outcome_of_classifier, outcome_of_function
from workers.science.problem import Problem

FORWARD_PASS_GRADIENTS = 1 / 3
"""A forward pass without its backward pass, in gradients (the usual count: the backward pass costs two forward)."""


def trial_result(
    member: Member,
    history: History,
    problem: Problem,
    total_steps: int,
    forward_passes: int,
    peak_lr: float | None = None,
) -> TrialResult:
    """The result of `member` once its pack is done.

    Args:
        forward_passes: those that its closed loop asked for.
        peak_lr: the rate, where it states a multiple.
    """
    slot = member.slot
    floats = {name: float(array[slot]) for name, array in history.floats.items()}
    end_step = int(history.end_step[slot])
    has_ended = end_step != NOT_YET
    reason = history.reasons[slot] if has_ended else BUDGET
    gradients = int(history.counts["train_gradients"][slot]) + floats["probe_gradients"]
    reference = problem.reference_loss
    return TrialResult(
        trial_id=member.trial.trial_id,
        outcome=_outcome(reason, floats, problem),
        reason=reason,
        outcome_step=end_step if has_ended else None,
        last_finite_loss=floats["last_finite_loss"],
        steps_completed=end_step if has_ended else total_steps,
        warmup_steps=_warmup_steps(member, history, total_steps),
        start_loss=floats["start_loss"],
        reference_loss=floats["start_loss"] if reference is None else reference,
        final={name: floats[f"final_{name}"] for name in ("train_loss", *COLUMNS, *TEST_COLUMNS)},
        best={name: floats[f"best_{name}"] for name in ("train_loss", *COLUMNS)},
        max_loss=floats["max_loss"],
        max_lr_applied=floats["max_lr_applied"],
        gradients=gradients + FORWARD_PASS_GRADIENTS * forward_passes,
        hvps=int(history.counts["hvps"][slot]),
        peak_lr=peak_lr,
        forward_passes=forward_passes,
    )


def _outcome(reason: str, floats: dict[str, float], problem: Problem) -> Outcome:
    if problem.reference_loss is not None:
        return outcome_of_classifier(reason, floats["final_train_eval_loss"], problem.reference_loss)
    final_loss = floats["final_train_loss"]
    assert reason != BUDGET or not math.isnan(final_loss)
    return outcome_of_function(reason, floats["start_loss"], final_loss, problem.optimum is not None)


def _warmup_steps(member: Member, history: History, total_steps: int) -> int | None:
    schedule = member.trial.schedule
    if not isinstance(schedule.warmup, ClosedLoopWarmup):
        return schedule.warmup_steps(total_steps)
    realised = int(history.counts["warmup_steps"][member.slot])
    return None if realised == NOT_YET else realised
