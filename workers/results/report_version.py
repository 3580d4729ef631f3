"""Of which end of a study a report is: a mark beside it, which copying, touching and restoring files leave true."""

import contextlib
import hashlib
import importlib.metadata
import json
from dataclasses import replace
from pathlib import Path

from schemas.trials import TrialState
from workers.ledger.rows import StudyHead

MARK = ".report-version"
"""Hidden: it is about this folder, and no result."""


def report_version(study: StudyHead) -> str:
    """What the report of a study depends on, in 16 hexadecimal digits; publishing a final study does not change it."""
    # Whatever goes on after its end raises one of these.
    said = [study.spec_hash, study.state, study.reason, study.total, study.continuations]
    if study.finished_at is None:
        said.append(study.version)
    said.append(importlib.metadata.version("warmup-bench"))
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:16]


def mark_report(folder: Path, study: StudyHead, *, becomes_done: bool = False) -> None:
    """Note that the folder's report is of the study as it is now, or as it will be once it `becomes_done`.

    Whoever sees `done` is to find both, so both are written before. Where the mark cannot be, the report is written
    again when it is asked for.
    """
    if becomes_done:
        study = replace(study, state=TrialState.DONE, reason="", finished_at=study.updated_at)
    with contextlib.suppress(OSError):
        partial = folder / f"{MARK}.partial"
        partial.write_text(report_version(study), encoding="ascii")
        partial.replace(folder / MARK)


def marked_version(folder: Path) -> str | None:
    """The version of the folder's report; None where nothing says."""
    try:
        return (folder / MARK).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return None
