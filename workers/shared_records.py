"""Whether the place for the records is the one that every other process of the same database uses.

Records that one process writes, others read. A folder of that name is on every machine, though; that it is the same one
is known by a token in it, which the database knows too.
"""

from contextlib import suppress

from schemas.errors import PlaceRefused, Problem
from workers.ledger.ledger import Ledger
from workers.places import RECORDS
from workers.records.places import Place, open_place

TOKEN_FILE = ".warmup-bench-place"


def check_shared_records(ledger: Ledger, records: str) -> None:
    """Check the token of the records' place; the first process of a ledger puts it there.

    Raises:
        PlaceRefused: it has none, or that of another ledger. PlaceError: it cannot be read or written.
    """
    place = open_place(records)
    found = _token_in(place)

    def mark(token: str) -> None:
        if found is not None:
            allowed = f"a place of its own for each database; where no other one uses this, remove {TOKEN_FILE} there"
            raise _refused(records, "another database's records", allowed)
        with suppress(FileExistsError):  # whose it is, is read below
            place.put_new(TOKEN_FILE, f"{token}\n".encode())

    token = ledger.records_token(mark)
    found = _token_in(place)
    if found is None:
        allowed = (
            f"the place that the other processes of this database use, mounted here too. If the records were moved:"
            f" put {TOKEN_FILE} there as well, a file that holds {token}"
        )
        raise _refused(records, f"no file {TOKEN_FILE} there", allowed)
    if found != token:
        raise _refused(records, "another database's records", "the place that the others of this database use")


def _token_in(place: Place) -> str | None:
    try:
        return place.get(TOKEN_FILE).decode("utf-8", "replace").strip()
    except FileNotFoundError:
        return None


def _refused(records: str, got: str, allowed: str) -> PlaceRefused:
    return PlaceRefused(str(Problem(RECORDS, f"{records}: {got}", allowed)))
