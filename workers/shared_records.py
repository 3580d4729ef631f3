"""Whether the place for the records is the one that every other process of the same database uses.

Records that one process writes, others read. A folder of that name is on every machine, though; that it is the same one
is known by a token in it, which the database knows too.
"""

from contextlib import suppress
from typing import TYPE_CHECKING
from uuid import uuid4

from schemas.errors import PlaceRefused, Problem
from workers.places import RECORDS
from workers.records.places import Place, open_place

if TYPE_CHECKING:  # a trainer looks for a token, and has no ledger
    from workers.ledger.ledger import Ledger

TOKEN_FILE = ".warmup-bench-place"


def check_shared_records(ledger: "Ledger", records: str) -> str:
    """Check the token of the records' place, and return it; the first process of a ledger puts it there.

    Raises:
        PlaceRefused: it has none, or that of another ledger. PlaceError: it cannot be read or written.
    """
    place = open_place(records)
    found = token_in(place)

    def mark(token: str) -> None:
        if found is not None:
            allowed = f"a place of its own for each database; where no other one uses this, remove {TOKEN_FILE} there"
            raise _refused(records, "another database's records", allowed)
        with suppress(FileExistsError):  # whose it is, is read below
            place.put_new(TOKEN_FILE, f"{token}\n".encode())

    token = ledger.records_token(mark)
    found = token_in(place)
    if found is None:
        allowed = (
            f"the place that the other processes of this database use, mounted here too. If the records were moved:"
            f" put {TOKEN_FILE} there as well, a file that holds {token}"
        )
        raise _refused(records, f"no file {TOKEN_FILE} there", allowed)
    if found != token:
        raise _refused(records, "another database's records", "the place that the others of this database use")
    return token


def token_of(records: str) -> str:
    """The token of the records' place, put there where there is none: for a ledger that one process alone has, which
    says nothing of who else may use that place.

    Raises:
        PlaceError: it cannot be read or written.
    """
    place = open_place(records)
    if (found := token_in(place)) is not None:
        return found
    with suppress(FileExistsError):
        place.put_new(TOKEN_FILE, f"{uuid4().hex}\n".encode())
    return token_in(place) or ""


def token_in(place: Place) -> str | None:
    """The token that lies in a place; None where there is none.

    Raises:
        PlaceError: it cannot be read.
    """
    try:
        return place.get(TOKEN_FILE).decode("utf-8", "replace").strip()
    except FileNotFoundError:
        return None


def _refused(records: str, got: str, allowed: str) -> PlaceRefused:
    return PlaceRefused(str(Problem(RECORDS, f"{records}: {got}", allowed)))
