"""How long a person waits for quickstart: the first line, the first trial step, the whole answer."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from commands import on_two_cores, run_study
from specs import QUICKSTART_TRIALS

from workers.ledger.rows import EventKind

HAND_WRITTEN_S_PER_TRIAL = 6.8
"""Quoted, not measured here: the same job by hand with Ray Tune, MLflow and power iteration, on two such cores."""


def main() -> dict[str, float]:
    """Run it once in a fresh home."""
    on_two_cores()
    with TemporaryDirectory(prefix="bench-") as folder:
        run = run_study("quickstart", Path(folder) / "quickstart")
    first_records = min(run.first(kind) for kind in (EventKind.PACK_PROGRESS, EventKind.PACK_DONE))
    figures = {
        "seconds": run.seconds,
        "first_line_s": run.first_line_s,
        "plan_s": run.first(EventKind.PLAN_WRITTEN),
        "first_pack_started_s": run.first(EventKind.PACK_STARTED),
        # A trial's first step lies between its pack's start and this: the first steps that are durable.
        "first_steps_recorded_s": first_records,
        "last_step_s": run.last(EventKind.PACK_DONE),
        "study_done_s": run.last(EventKind.STUDY_DONE),
        "s_per_trial": run.seconds / QUICKSTART_TRIALS,
        "times_faster_than_by_hand": HAND_WRITTEN_S_PER_TRIAL * QUICKSTART_TRIALS / run.seconds,
    }
    for name, value in figures.items():
        sys.stdout.write(f"{name:28} {value:10.3f}\n")
    return figures
