"""A ledger on a driver's own disk, copied to the records' place, so that a batch job begun again elsewhere continues.

One copy per study's file and moment, `ledgers/SPEC/ATTEMPT-NUMBER.sqlite`: put whole, the newest counts, older ones are
removed once a newer is there. Two jobs of one study have no database in common that would keep them apart: the job
whose attempt is not the newest, and of two that began at the same attempt the one that copies later, finds that out
when it copies, before anything that the other one relies on is deleted.
"""

import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from schemas.errors import CorruptRecord, PlaceError, StaleFence
from workers.records.places import Place, open_place

FOLDER = "ledgers"


class OtherJob(StaleFence):
    """Another job has continued the study from a copy, with a ledger of its own."""


class LedgerCopies:
    """The copies that one driver makes under its fence."""

    def __init__(self, file: Path, records: str, spec_hash: str, fence: int) -> None:
        """`file`: the SQLite ledger. `records`: a local path or an fsspec URL."""
        self._file, self._fence = file, fence
        self._place, self._folder = open_place(records), _folder(spec_hash)
        self._number = 0

    def copy(self) -> None:
        """Copy what is committed.

        Raises:
            OtherJob: a copy of a newer attempt is there, or one of this attempt that is not ours. PlaceError: it cannot
                be copied now.
        """
        older = _copies(self._place, self._folder)
        if any(fence > self._fence for fence, _ in older):
            raise OtherJob("another job has continued this study since; it has the newer copy of the ledger")
        # Every driver takes an attempt above that of the copy it began with: so ours are numbered by us alone.
        if any(fence == self._fence and number > self._number for fence, number in older):
            raise OtherJob("another job continues this study at the same time")
        self._number += 1
        name, data = _name(self._folder, self._fence, self._number), snapshot(self._file)
        try:
            self._place.put_new(name, data)
        except FileExistsError as error:
            if not self._is_there(name, data):
                raise OtherJob("another job continues this study at the same time") from error
        for fence, number in older:
            self._place.delete(_name(self._folder, fence, number))

    def _is_there(self, name: str, data: bytes) -> bool:
        # A client of an object store that lost the answer puts it again by itself, and finds its own.
        with suppress(FileNotFoundError):
            return self._place.get(name) == data
        return False


def restore(file: Path, records: str, spec_hash: str) -> bool:
    """Put the newest copy where the study's ledger is to be, which has this study alone. False where there is none, or
    `file` is there and not older.

    Raises:
        PlaceError: the records' place cannot be read. CorruptRecord: what lies there is no whole ledger.
    """
    place, folder = open_place(records), _folder(spec_hash)
    while copies := _copies(place, folder):
        if file.exists() and _attempt(file) >= copies[-1][0]:
            return False
        try:
            data = place.get(_name(folder, *copies[-1]))
        except FileNotFoundError:
            continue  # a job that still runs has just put a newer one
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_name(f".{file.name}.restored")
        partial.write_bytes(data)
        _check(partial, _name(folder, *copies[-1]))
        for log in ("-wal", "-shm"):  # of the older one
            file.with_name(file.name + log).unlink(missing_ok=True)
        partial.rename(file)
        return True
    return False


def _attempt(file: Path) -> int:
    """The newest attempt that a ledger of one study knows; 0 where it knows none, or cannot be read."""
    try:
        with closing(sqlite3.connect(file, timeout=30.0)) as opened:
            return int(opened.execute("SELECT max(attempt) FROM studies").fetchone()[0] or 0)
    except sqlite3.Error:
        return 0


def snapshot(file: Path) -> bytes:
    """The bytes of a SQLite file as of now, what is in its write-ahead log included.

    Raises:
        PlaceError: it cannot be read.
    """
    try:
        with TemporaryDirectory(dir=file.parent, prefix=".copy-") as folder:
            copy = Path(folder) / file.name
            with closing(sqlite3.connect(file, timeout=30.0)) as source, closing(sqlite3.connect(copy)) as target:
                source.backup(target)
            return copy.read_bytes()
    except (sqlite3.Error, OSError) as error:
        raise PlaceError(f"ledger {file}: it cannot be copied: {error}") from error


def _check(file: Path, name: str) -> None:
    try:
        with closing(sqlite3.connect(file)) as opened:
            said = opened.execute("PRAGMA quick_check").fetchone()[0]
    except sqlite3.Error as error:
        said = str(error)
    if said != "ok":
        file.unlink()
        raise CorruptRecord(f"{name}: no whole ledger ({said}); remove it to begin the study anew")


def _folder(spec_hash: str) -> str:
    return f"{FOLDER}/{spec_hash}"


def _name(folder: str, fence: int, number: int) -> str:
    return f"{folder}/{fence:06d}-{number:09d}.sqlite"


def _copies(place: Place, folder: str) -> list[tuple[int, int]]:
    """Attempt and number of each, the newest last."""
    found = []
    for name in place.names_below(folder):
        fence, _, number = name.rpartition("/")[2].removesuffix(".sqlite").partition("-")
        if name.endswith(".sqlite") and fence.isdecimal() and number.isdecimal():
            found.append((int(fence), int(number)))
    return sorted(found)
