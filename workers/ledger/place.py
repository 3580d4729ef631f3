"""Where a ledger lives: a folder, a SQLite file on a local disk, or a database URL.

SQLite's write-ahead log needs memory shared between processes, which network file systems do not give: keep the home on
a local disk, or use Postgres.
"""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from schemas.errors import PlaceError

FILE_NAME = "ledger.sqlite"
_FILE_SUFFIXES = {".sqlite", ".sqlite3", ".db"}


@dataclass(frozen=True)
class Place:
    """A resolved place: `file` is None for a database server."""

    url: URL
    file: Path | None

    def __str__(self) -> str:
        return str(self.file) if self.file else self.url.render_as_string(hide_password=True)


def resolve(place: Path | str) -> Place:
    """A path with one of the suffixes .sqlite, .sqlite3, .db is the file, another path the folder of `ledger.sqlite`.

    Raises:
        PlaceError: a URL that cannot be read, an in-memory SQLite, or a database that is neither SQLite nor Postgres.
    """
    if isinstance(place, str) and "://" in place:
        return _from_url(place)
    path = Path(place).expanduser().absolute()
    return _at_file(path if path.suffix in _FILE_SUFFIXES else path / FILE_NAME)


def _at_file(file: Path) -> Place:
    return Place(URL.create("sqlite", database=str(file)), file)


def _from_url(text: str) -> Place:
    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as error:  # ValueError: of a port that is no number
        raise PlaceError(
            "ledger: the database URL cannot be read; it looks like postgresql://user@host/name"
        ) from error
    if url.get_backend_name() == "sqlite":
        if not url.database or url.database == ":memory:":
            raise PlaceError("ledger: an in-memory SQLite cannot be shared by processes; name a file")
        return _at_file(Path(url.database).absolute())
    if url.get_backend_name() != "postgresql":
        raise PlaceError(f"ledger: got {url.get_backend_name()}, allowed sqlite, postgresql")
    return Place(url.set(drivername="postgresql+psycopg"), None)
