"""What a driver on a cluster keeps in the records' place, beside the records: logs, a token, copies of its ledger."""

import logging
from dataclasses import dataclass

from schemas.errors import PlaceError, StaleFence
from workers.cluster.study_logs import LogTail, StudyLogs
from workers.ledger.ledger import Ledger
from workers.ledger_copies import LedgerCopies
from workers.places import Places
from workers.records.places import open_place
from workers.shared_records import check_shared_records, token_of

log = logging.getLogger("warmup_bench.driver")


@dataclass(frozen=True)
class Aside:
    """Of one driver. `copies` are of a ledger that is a file on its own disk."""

    logs: StudyLogs
    copies: LedgerCopies | None

    @classmethod
    def of(cls, ledger: Ledger, study_id: str, places: Places, fence: int, tail: LogTail) -> "Aside":
        """Opened, with nothing done yet.

        Raises:
            PlaceError: the place of the records cannot be one.
        """
        file, copies = ledger.place.file, None
        if file is not None:
            copies = LedgerCopies(file, places.records, ledger.study(study_id).spec_hash, fence)
        return cls(StudyLogs(open_place(places.records), study_id, fence, tail), copies)

    def records_token(self, ledger: Ledger, records: str) -> str:
        """What the trainers of all nodes have to find at the records' place; put there where nothing is.

        Raises:
            PlaceError: it cannot be read or written, or is another database's.
        """
        return check_shared_records(ledger, records) if self.copies is None else token_of(records)

    def copy_at_the_end(self) -> None:
        """Copy what the ledger says once nobody drives the study any more."""
        if self.copies is None:
            return
        try:
            self.copies.copy()
        except (PlaceError, StaleFence) as error:
            log.error("the ledger's last copy: %s", error)
