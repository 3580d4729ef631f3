"""How a run says its trial's peak learning rate: as it is, or as a multiple of 1/sharpness at the start."""

from collections.abc import Container

from workers.ledger.rows import TrialRow

Multiples = Container[tuple[str, str]]
"""(optimizer, schedule) that state multiples."""


def rate_name(trial: TrialRow, multiples: Multiples) -> str:
    """`lr=0.1`, or `lr=2/sharpness`."""
    return f"lr={trial.peak_lr:.4g}{'/sharpness' if _is_multiple(trial, multiples) else ''}"


def rate_params(trial: TrialRow, multiples: Multiples) -> dict[str, object]:
    """`peak_lr`, and `lr_multiple` where that was stated; the rate is then known once the trial is done."""
    if not _is_multiple(trial, multiples):
        return {"peak_lr": trial.peak_lr}
    return {"lr_multiple": trial.peak_lr, "peak_lr": (trial.summary or {}).get("peak_lr")}


def _is_multiple(trial: TrialRow, multiples: Multiples) -> bool:
    return (trial.optimizer, trial.schedule) in multiples
