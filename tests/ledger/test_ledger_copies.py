"""A ledger on a driver's own disk is copied whole, restored where there is none, and kept by the newest job alone."""

import sqlite3
from pathlib import Path

import pytest

from schemas.errors import CorruptRecord, PlaceError
from workers.ledger.ledger import Ledger
from workers.ledger_copies import FOLDER, LedgerCopies, OtherJob, restore, snapshot

SPEC = "ab" * 32


@pytest.fixture(params=["folder", "object store"])
def records(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "records") if request.param == "folder" else f"memory://{tmp_path.name}-{id(request)}"


@pytest.fixture
def ledger(tmp_path: Path):
    with Ledger.open(tmp_path / "home") as opened:
        yield opened


def told(file: Path) -> str:
    with Ledger.open(file) as opened:
        return opened.records_token(lambda token: None)


def test_a_copy_has_what_is_committed_and_is_restored_where_there_is_no_ledger(ledger, records, tmp_path) -> None:
    token = ledger.records_token(lambda token: None)  # still in the write-ahead log
    LedgerCopies(ledger.place.file, records, SPEC, 1).copy()
    new = tmp_path / "other node" / "ledger.sqlite"
    assert restore(new, records, SPEC)
    assert told(new) == token
    assert not restore(tmp_path / "else.sqlite", records, "cd" * 32), "another study's copy is not its own"


def test_the_newest_copy_alone_is_kept(ledger, tmp_path) -> None:
    records = str(tmp_path / "records")
    copies = LedgerCopies(ledger.place.file, records, SPEC, 1)
    for _ in range(3):
        copies.copy()
    LedgerCopies(ledger.place.file, records, SPEC, 2).copy()
    names = [path.name for path in (tmp_path / "records" / FOLDER / SPEC).iterdir()]
    assert names == ["000002-000000001.sqlite"]


def test_a_job_that_another_one_has_continued_finds_out(ledger, records) -> None:
    old, new = (LedgerCopies(ledger.place.file, records, SPEC, fence) for fence in (1, 2))
    old.copy()
    new.copy()
    with pytest.raises(OtherJob, match="newer copy"):
        old.copy()


def test_of_two_jobs_that_began_alike_the_one_that_copies_later_stops(ledger, records) -> None:
    first, second = (LedgerCopies(ledger.place.file, records, SPEC, 1) for _ in range(2))
    first.copy()
    for _ in range(2):
        with pytest.raises(OtherJob, match="at the same time"):
            second.copy()
    first.copy()
    first.copy()


def test_a_copy_whose_answer_was_lost_is_our_own(ledger, tmp_path, monkeypatch) -> None:
    copies = LedgerCopies(ledger.place.file, str(tmp_path / "records"), SPEC, 1)
    put = copies._place.put_new

    def put_and_lose(name: str, data: bytes) -> None:
        put(name, data)
        raise PlaceError("timed out")

    def put_twice(name: str, data: bytes) -> None:
        put(name, data)
        put(name, data)  # as a client that tries again by itself

    with monkeypatch.context() as lossy:
        lossy.setattr(copies._place, "put_new", put_twice)
        copies.copy()
        lossy.setattr(copies._place, "put_new", put_and_lose)
        with pytest.raises(PlaceError, match="timed out"):
            copies.copy()
    copies.copy()
    (left,) = (tmp_path / "records" / FOLDER / SPEC).iterdir()
    assert left.name == "000001-000000003.sqlite"


def test_what_is_no_ledger_is_not_restored(tmp_path) -> None:
    folder = tmp_path / "records" / FOLDER / SPEC
    folder.mkdir(parents=True)
    (folder / "000001-000000001.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(CorruptRecord, match="no whole ledger"):
        restore(tmp_path / "ledger.sqlite", str(tmp_path / "records"), SPEC)
    assert not list(tmp_path.glob("*.sqlite*"))


def test_a_snapshot_leaves_nothing_beside_the_ledger(ledger, tmp_path) -> None:
    before = {path.name for path in (tmp_path / "home").iterdir()}
    data = snapshot(ledger.place.file)
    (tmp_path / "copy.sqlite").write_bytes(data)
    with sqlite3.connect(tmp_path / "copy.sqlite") as copy:
        assert copy.execute("SELECT count(*) FROM studies").fetchone() == (0,)
    copy.close()
    assert {path.name for path in (tmp_path / "home").iterdir()} == before
