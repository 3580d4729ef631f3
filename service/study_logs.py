"""The logs of a study's drivers and of its packs, as far as they are kept.

A driver on a cluster puts its own, and those of packs that failed, into the records' place, which every process sees.
A driver of this machine writes to the home; what a failed pack said is in the ledger too.
"""

import re
from pathlib import Path
from typing import BinaryIO

from workers.ledger.ledger import Ledger
from workers.ledger.rows import TrialRow
from workers.places import Places
from workers.records.places import Place, open_place

MOST_BYTES = 1_000_000
"""Of one log: its end."""
FOLDER = "logs"


class StudyLogs:
    """Reads them. May be shared by threads."""

    def __init__(self, ledger: Ledger, places: Places) -> None:
        """Touches nothing yet."""
        self._ledger, self._places = ledger, places

    def of_study(self, study_id: str) -> str | None:
        """The end of the newest driver's log; None where there is none.

        Raises:
            PlaceError: the records' place cannot be read.
        """
        place = open_place(self._places.records)
        found = _attempts(place, study_id, "driver")
        if found:
            return _end_of(place, found[-1])
        return _end_of_file(self._places.home / FOLDER / f"{study_id}.driver.log")

    def of_trial(self, trial: TrialRow) -> str | None:
        """What the attempts at the trial's pack have said that failed, the newest last; None where none did.

        Raises:
            PlaceError: the records' place or the ledger cannot be read.
        """
        if trial.pack_id is None:
            return None
        place = open_place(self._places.records)
        kept = [f"{name.rpartition('/')[2]}\n{_end_of(place, name)}" for name in _attempts(place, *_pack(trial))]
        if not kept:
            # A trial that was taken over has a pack of another study, which may be another owner's.
            packs = self._ledger.packs_by_id([trial.pack_id])
            kept = [pack.log for pack in packs if pack.log and pack.study_id == trial.study_id]
        return "\n".join(kept)[-MOST_BYTES:] or None


def _pack(trial: TrialRow) -> tuple[str, str]:
    return trial.study_id, str(trial.pack_id)


def _attempts(place: Place, study_id: str, what: str) -> list[str]:
    """Names of the logs of `what`, by attempt."""
    pattern = re.compile(rf"{FOLDER}/{re.escape(study_id)}/{re.escape(what)}-a([0-9]{{1,9}})\.log")
    matched = [pattern.fullmatch(name) for name in place.names_below(f"{FOLDER}/{study_id}")]
    return [one[0] for one in sorted((one for one in matched if one), key=lambda one: int(one[1]))]


def _end_of(place: Place, name: str) -> str:
    try:
        with place.open(name) as file:
            return _end(file)
    except FileNotFoundError:  # it was there a moment ago, and is being replaced
        return ""


def _end_of_file(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return _end(file)
    except OSError:
        return None


def _end(file: BinaryIO) -> str:
    """The end of it, from the beginning of a line."""
    size = file.seek(0, 2)
    file.seek(max(0, size - MOST_BYTES))
    text = file.read(MOST_BYTES).decode("utf-8", "replace")
    return text if size <= MOST_BYTES else text.partition("\n")[2]
