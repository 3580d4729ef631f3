"""Puts a study into the ledger of this machine, or finds the one that is there: created, continued, or widened."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from schemas.study import Study
from schemas.trials import TrialSpec
from service.requests import Request
from workers.extending import ExtendResult, extend_study
from workers.inspecting import remember
from workers.ledger.ledger import Ledger
from workers.ledger.rows import StudyRow
from workers.places import Places
from workers.results.folder import check_folder, default_folder_name
from workers.studies import create_study, publish_data


@dataclass(frozen=True)
class Prepared:
    """A study that is in the ledger."""

    row: StudyRow
    study: Study
    folder: Path
    is_new: bool


def prepare(ledger: Ledger, request: Request, places: Places, out: Path | None) -> Prepared:
    """Publish data, and create the study, or find the one of the same spec and queue what it lacks.

    Raises:
        PlaceError: before anything is written.
    """
    study = request.study
    with _one_at_a_time(places):  # else two commands could both find nothing, and make two studies of one spec
        known = ledger.study_by_spec_hash(study.spec_hash)
        # The spec may be the same and its trials not: a data set has changed, or the science has.
        if known is not None and _same_trials(ledger, known.id, request.trials):
            folder = _folder(out, study, known.id)
            check_folder(folder, known.id)
            return Prepared(ledger.continue_study(known.id), study, folder, is_new=False)
        check_folder(_folder(out, study, "new"), None)
        publish_data(ledger, places.data, request.own.datasets)
        remember(request.own, study, places.home)
        row = create_study(ledger, study, request.trials)
    return Prepared(row, study, _folder(out, study, row.id), is_new=True)


def prepare_wider(
    ledger: Ledger, words: str, request: Request, places: Places, out: Path | None
) -> tuple[Prepared, ExtendResult]:
    """Publish data, and add to the study that `words` name what the request has and it lacks.

    Raises:
        StudyNotFound. PlaceError: before anything is written. As `workers.extending.extend_study`.
    """
    with _one_at_a_time(places):
        row = ledger.find_study(words)
        folder = _folder(out, request.study, row.id)
        check_folder(folder, row.id)
        publish_data(ledger, places.data, request.own.datasets)
        remember(request.own, request.study, places.home)
        found = extend_study(ledger, row.id, request.study, request.trials)
    return Prepared(ledger.study(row.id), request.study, folder, is_new=False), found


@contextmanager
def _one_at_a_time(places: Places) -> Iterator[None]:
    with (places.home / ".creating").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _folder(out: Path | None, study: Study, study_id: str) -> Path:
    return (out or Path(default_folder_name(study.name, study_id))).absolute()


def _same_trials(ledger: Ledger, study_id: str, trials: list[TrialSpec]) -> bool:
    # Not their order: a study that was extended has its new trials last.
    return {trial.trial_id for trial in ledger.trials(study_id)} == {trial.trial_id for trial in trials}
