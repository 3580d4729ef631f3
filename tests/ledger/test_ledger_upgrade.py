"""A home that the first schema made: copied, migrated, and nothing in it lost."""

import json
import sqlite3
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config

from schemas.trials import Outcome, TrialState
from tests.ledger.making import digest, new_study, packs_of, receipt
from workers.ledger import opening
from workers.ledger.dialect import WRITES, connect
from workers.ledger.inputs import Idempotency
from workers.ledger.ledger import Ledger
from workers.ledger.place import resolve

STUDY = "ab" * 8
STATES = [("done", "trained"), ("done", "diverged"), ("cancelled", None), ("queued", None), ("running", None)]


@pytest.fixture
def old_place(place):
    """A place with one study in the first schema, written in that schema's own columns."""
    if isinstance(place, Path):
        place = place / "ledger.sqlite"
    engine = connect(resolve(place).url, enforce_foreign_keys=False)
    config = Config()
    config.set_main_option("script_location", str(opening.MIGRATIONS))
    with engine.execution_options(**{WRITES: True}).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        fill(connection)
    engine.dispose()
    return place


def fill(connection):
    insert(
        connection,
        "studies",
        id=STUDY,
        name="old",
        owner="local",
        priority=3,
        state="running",
        reason="",
        publishing="current",
        cancel_requested=False,
        spec=json.dumps({"schema_version": 1, "name": "old"}),
        spec_hash=digest("old"),
        total=len(STATES),
        attempt=2,
        continuations=1,
        last_event_seq=1,
        created_ms=1_700_000_000_000,
        updated_ms=1_700_000_000_001,
    )
    insert(connection, "rounds", study_id=STUDY, round=0, kind="product", body="{}", num_trials=5, created_ms=1)
    insert(connection, "events", study_id=STUDY, seq=1, at_ms=5, kind="study_created", payload='{"name": "old"}')
    for index, (state, outcome) in enumerate(STATES):
        old_trial(connection, index, state, outcome, attempt=2 if index == 3 else 1, superseded_in=0)
    old_trial(connection, 3, "errored", None, attempt=1, superseded_in=1)


def old_trial(connection, index, state, outcome, *, attempt, superseded_in):
    insert(
        connection,
        "trials",
        study_id=STUDY,
        trial_id=digest(f"t{index}"),
        attempt=attempt,
        superseded_in=superseded_in,
        cell_id=digest("cell"),
        round=0,
        num_index=index,
        workload="digits",
        optimizer="adam",
        schedule="linear",
        peak_lr=0.1,
        seed="{}",
        swept='{"x": "NaN"}',
        measurement_id="m" * 64,
        state=state,
        outcome=outcome,
        reason="",
        replanned=False,
        summary='{"loss": "Infinity"}' if outcome else None,
    )


def insert(connection, table, **values):
    columns = ", ".join(f'"{name}"' for name in values)
    text = {name: "NULL" if value is None else repr(value) for name, value in values.items()}
    connection.exec_driver_sql(f"INSERT INTO {table} ({columns}) VALUES ({', '.join(text.values())})")


def test_an_upgraded_home_has_everything_it_had(old_place):
    with Ledger.open(old_place) as ledger:
        study = ledger.study(STUDY)
        assert (study.name, study.priority, study.attempt, study.state) == ("old", 3, 2, TrialState.RUNNING)
        assert study.spec == {"schema_version": 1, "name": "old"}
        assert study.created_at.timestamp() == 1_700_000_000
        trials = list(ledger.trials(STUDY))
        assert [(trial.state, trial.outcome) for trial in trials] == STATES
        assert trials[0].summary == {"loss": float("inf")}
        assert [trial.attempt for trial in ledger.trial_attempts(STUDY, digest("t3"))] == [1, 2]
        assert [event.payload for event in ledger.events(STUDY)] == [{"name": "old"}]


def test_an_upgraded_study_has_its_counts_and_a_version(old_place):
    with Ledger.open(old_place) as ledger:
        study = ledger.study(STUDY)
        assert study.counts == {
            "queued": 1,
            "running": 1,
            "done": 2,
            "cancelled": 1,
            "errored": 0,
            "trained": 1,
            "stalled": 0,
            "diverged": 1,
        }
        ledger.set_publishing(STUDY, "behind")
        assert ledger.study(STUDY).version > study.version >= 1


def test_an_upgraded_home_is_used_like_a_fresh_one(old_place):
    with Ledger.open(old_place) as ledger:
        new_study(ledger, idempotency=Idempotency("k", "b" * 64))
        _, secret = ledger.create_key("laptop", ["read"])
        assert ledger.key_by_secret(secret) is not None
        fence = ledger.acquire_lease(STUDY, "run", "driver", 60.0).fence
        ledger.set_study_state(STUDY, TrialState.CANCELLED, fence=fence)
        assert ledger.continue_study(STUDY).counts["queued"] == 3
        fence = ledger.acquire_lease(STUDY, "run", "driver", 60.0).fence
        waiting = list(ledger.trials(STUDY, state=TrialState.QUEUED))
        (pack,) = packs_of(STUDY, waiting, size=3)
        ledger.write_plan(STUDY, 0, [pack], fence, "cpu")
        started = ledger.start_packs(STUDY, [pack.pack_id], fence)
        ledger.commit_receipts(STUDY, fence, [receipt(pack, Outcome.STALLED) for pack in started])
        assert ledger.study(STUDY).counts["stalled"] == 3


def test_before_a_file_is_upgraded_it_is_copied(tmp_path, old_place):
    if not isinstance(old_place, Path):
        pytest.skip("a database server is copied by its operator")
    Ledger.open(old_place).close()
    copy = sqlite3.connect(tmp_path / "ledger.sqlite.bak-0001")
    assert copy.execute("SELECT version_num FROM alembic_version").fetchall() == [("0001",)]
    assert copy.execute("SELECT count(*) FROM trials").fetchall() == [(len(STATES) + 1,)]
    copy.close()
