"""`warmup-bench extend`: a study that is done gets two more seeds, and those alone are trained, told and published."""

import json
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.e2e.commands import Ended, as_file, command, ended, events_of, only_study, started, wait_for
from tests.e2e.specs import digits
from workers.ledger.ledger import Ledger
from workers.ledger.rows import EventKind, EventRow

pytestmark = [pytest.mark.slow, pytest.mark.proof]

FLAGS = ("--home", "home", "--out", "out", "--workers", "1")


@dataclass
class Grown:
    """A study of 16 trials that was extended to 32."""

    cwd: Path
    extended: Ended
    records: dict[str, bytes]
    runs: list[tuple[str, int, int]]
    events: list[EventRow]
    """Before it was extended."""

    @property
    def home(self) -> Path:
        return self.cwd / "home"


def records_in(home: Path) -> dict[str, bytes]:
    root = home / "records"
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def runs_in(home: Path) -> list[tuple[str, int, int]]:
    """Name, end and number of points of every trial's run in MLflow's store."""
    with closing(sqlite3.connect(home / "mlflow.sqlite")) as connection:
        query = (
            "select r.name, r.end_time, count(m.key) from runs r left join metrics m using (run_uuid)"
            " where r.name like '%seed=%' group by r.run_uuid order by r.name"
        )
        return connection.execute(query).fetchall()


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Grown:
    cwd = tmp_path_factory.mktemp("grown")
    as_file(digits(30), cwd / "study.yaml")
    as_file(digits(30, num_seeds=4), cwd / "wider.yaml")
    first = command("run", "study.yaml", *FLAGS, cwd=cwd)
    assert first.status == 0, first.err
    home = cwd / "home"
    before = records_in(home), runs_in(home), events_of(home)
    extended = command("extend", "small", "wider.yaml", *FLAGS, "--json", cwd=cwd)
    return Grown(cwd, extended, *before)


def test_the_answer_is_that_of_all_trials(grown: Grown) -> None:
    assert grown.extended.status == 0, grown.extended.err
    assert "16 new trials, 32 in all" in grown.extended.err
    answer = json.loads(grown.extended.out)
    assert (answer["state"], answer["total"], answer["counts"]["done"]) == ("done", 32, 32)
    assert {row["num_trials"] for row in answer["ranking"]} == {4}
    table = pq.read_table(grown.cwd / "out" / "trials.parquet", columns=["seed", "state"]).to_pylist()
    assert sorted({row["seed"] for row in table}) == ["0", "1", "2", "3"]
    assert len(table) == 32
    assert "4/4" in (grown.cwd / "out" / "report.html").read_text(encoding="utf-8")


def test_the_new_trials_alone_are_trained(grown: Grown) -> None:
    events = events_of(grown.home)
    assert events[: len(grown.events)] == grown.events
    added = events[len(grown.events) :]
    assert sum(event.kind is EventKind.TRIAL_DONE for event in added) == 16
    with Ledger.open(grown.home, create=False) as ledger:
        packs = ledger.packs(only_study(grown.home).id)
    assert [pack.attempt for pack in packs] == [1] * 4
    started = {event.payload["pack_id"] for event in added if event.kind is EventKind.PACK_STARTED}
    assert started == {pack.pack_id for pack in packs if pack.round == 1}


def test_no_byte_of_the_old_records_changes(grown: Grown) -> None:
    after = records_in(grown.home)
    assert {name: after.get(name) for name in grown.records} == grown.records
    assert len(after) > len(grown.records)


def test_the_new_trials_alone_are_published(grown: Grown) -> None:
    after = runs_in(grown.home)
    assert len(after) == 32
    assert set(after) >= set(grown.runs)
    assert only_study(grown.home).publishing == "current"


def test_the_wider_file_then_names_the_same_study(grown: Grown) -> None:
    before = events_of(grown.home)
    again = command("run", "wider.yaml", *FLAGS, cwd=grown.cwd)
    assert again.status == 0, again.err
    assert "all 32 trials were done before" in again.err
    twice = command("extend", only_study(grown.home).id[:8], "wider.yaml", *FLAGS, cwd=grown.cwd)
    assert twice.status == 0, twice.err
    assert "nothing new, it has all 32 trials of wider.yaml" in twice.err
    assert events_of(grown.home) == before


def test_the_narrower_file_is_refused_by_field(grown: Grown) -> None:
    refused = command("extend", "small", "study.yaml", *FLAGS, cwd=grown.cwd)
    assert refused.status == 2
    assert "error: seeds: got 0, 1, allowed also 2, 3: an extension holds every trial of the study" in refused.err


def test_while_it_runs_a_study_cannot_be_extended_and_after_ctrl_c_it_can(tmp_path: Path) -> None:
    long = as_file(digits(1_000, num_seeds=1), tmp_path / "study.yaml")
    wider = as_file(digits(1_000, num_seeds=2), tmp_path / "wider.yaml")
    home = tmp_path / "home"
    with started("run", long, *FLAGS, "--tracking-uri", "none", cwd=tmp_path, pace=tmp_path / "pace") as process:
        wait_for(has(home, EventKind.PACK_PROGRESS), "the first steps")
        refused = command("extend", "small", wider, *FLAGS, cwd=tmp_path)
        assert refused.status == 1
        assert "is running and cannot be extended now; wait until it is done, or cancel it first" in refused.err
        process.send_signal(signal.SIGINT)
        assert ended(process).status == 130
    with started("extend", "small", wider, *FLAGS, "--tracking-uri", "none", cwd=tmp_path) as process:
        wait_for(has(home, EventKind.ROUND_ADDED), "the new round")
        process.send_signal(signal.SIGINT)
        assert ended(process).status == 130
    assert only_study(home).total == 16


def has(home: Path, kind: EventKind) -> Callable[[], bool]:
    """Whether an event of that kind has happened there."""
    return lambda: any(event.kind is kind for event in events_of(home))
