"""Logs in the records' place: a driver's while it grows, its end alone where it is long, those of packs that failed."""

import logging
from pathlib import Path

import pytest

from schemas.errors import PlaceError
from workers.cluster import study_logs
from workers.cluster.study_logs import LogTail, StudyLogs
from workers.records.places import open_place


@pytest.fixture
def tail():
    tail, logger = LogTail(), logging.getLogger("warmup_bench.driver")
    logger.addHandler(tail)
    yield tail
    logger.removeHandler(tail)


def say(text: str) -> None:
    logging.getLogger("warmup_bench.driver").warning(text)


def test_a_drivers_log_is_put_when_it_has_grown_and_at_the_end(tail, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(study_logs, "EVERY_S", 3600.0)
    file = tmp_path / "logs" / "s1" / "driver-a3.log"
    with StudyLogs(open_place(tmp_path), "s1", 3, tail) as logs:
        logs.put()
        assert not file.exists(), "nothing was said yet"
        say("first")
        logs.put()
        assert "WARNING warmup_bench.driver first" in file.read_text()
        say("second")
    assert [line.split()[-1] for line in file.read_text().splitlines()] == ["first", "second"]


def test_it_is_put_by_itself(tail, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(study_logs, "EVERY_S", 0.01)
    puts = []
    logs = StudyLogs(open_place(tmp_path), "s1", 1, tail)
    monkeypatch.setattr(logs, "put", lambda: puts.append(1) or logs._is_over.set())
    with logs:
        logs._thread.join(10.0)
    assert len(puts) == 2, "by the thread, and at the end"


def test_of_a_long_log_the_end_is_kept() -> None:
    tail = LogTail(most_bytes=100)
    for number in range(50):
        tail.emit(logging.LogRecord("name", logging.INFO, "", 0, f"line {number}", None, None))
    assert len(tail.text()) <= 100
    assert tail.text().endswith(b"line 49\n")
    tail.emit(logging.LogRecord("name", logging.INFO, "", 0, "x" * 1000, None, None))
    assert tail.text() == b"x" * 99 + b"\n"


def test_why_a_pack_failed_is_put_by_its_attempt(tail, tmp_path: Path) -> None:
    StudyLogs(open_place(tmp_path), "s1", 1, tail).put_pack("p7", 2, "Traceback")
    assert (tmp_path / "logs" / "s1" / "p7-a2.log").read_text() == "Traceback"


def test_a_place_that_is_away_fails_nothing_and_is_tried_again(tail, tmp_path: Path, monkeypatch) -> None:
    place = open_place(tmp_path)
    logs = StudyLogs(place, "s1", 1, tail)
    say("first")
    put = type(place).put

    def away(*_: object) -> None:
        raise PlaceError("away")

    monkeypatch.setattr(type(place), "put", away)
    logs.put()
    logs.put_pack("p7", 1, "Traceback")
    monkeypatch.setattr(type(place), "put", put)
    logs.put()
    assert "first" in (tmp_path / "logs" / "s1" / "driver-a1.log").read_text()
