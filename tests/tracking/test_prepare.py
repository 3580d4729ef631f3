"""A store is a copy of a migrated file: made once, complete, and never over another one."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from schemas.errors import PlaceError
from workers.tracking import prepare
from workers.tracking.mlflow_tracker import MlflowTracker
from workers.tracking.prepare import ensure_store


def test_a_new_store_is_one_that_mlflow_opens(tmp_path: Path):
    store = tmp_path / "my home, 50 % № 1" / "mlflow.sqlite"
    assert ensure_store(store)
    assert MlflowTracker(f"sqlite:///{store}").find_or_create_experiment("first", {}).experiment_id == "1"


def test_a_new_store_lets_readers_and_the_writer_work_at_once(tmp_path: Path):
    ensure_store(tmp_path / "mlflow.sqlite")
    with closing(sqlite3.connect(tmp_path / "mlflow.sqlite")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_nothing_but_the_store_is_left(tmp_path: Path):
    ensure_store(tmp_path / "mlflow.sqlite")
    assert os.listdir(tmp_path) == ["mlflow.sqlite"]


def test_a_store_that_is_there_is_not_touched(tmp_path: Path):
    store = tmp_path / "mlflow.sqlite"
    store.write_bytes(b"somebody's")
    assert not ensure_store(store)
    assert store.read_bytes() == b"somebody's"


def test_a_store_that_appears_meanwhile_is_not_replaced(tmp_path: Path, monkeypatch):
    store = tmp_path / "mlflow.sqlite"
    copy = prepare._copy_of_template

    def slow_copy(target: Path, cache: Path) -> None:
        copy(target, cache)
        store.write_bytes(b"somebody's")

    monkeypatch.setattr(prepare, "_copy_of_template", slow_copy)
    assert not ensure_store(store)
    assert store.read_bytes() == b"somebody's"


def test_the_migrations_run_once_for_many_stores(tmp_path: Path, cache: Path, monkeypatch):
    monkeypatch.setattr(prepare, "_migrate", lambda path: pytest.fail("migrated again"))
    assert all(ensure_store(tmp_path / str(number) / "mlflow.sqlite") for number in range(3))
    assert len(list(cache.iterdir())) == 1


def test_another_version_of_mlflow_uses_another_template(cache: Path, monkeypatch):
    (present,) = cache.iterdir()
    monkeypatch.setattr(prepare, "version", lambda name: "99.0")
    monkeypatch.setattr(prepare, "_migrate", lambda path: path.write_bytes(b"newer"))
    newer = prepare.ensure_template(cache)
    assert (newer.name, newer.read_bytes()) == ("mlflow-99.0-sqlalchemy-99.0.sqlite", b"newer")
    newer.unlink()
    assert present.exists()


def test_a_cache_that_cannot_be_written_only_costs_time(tmp_path: Path, monkeypatch):
    (tmp_path / "file").touch()
    migrated = []
    monkeypatch.setattr(prepare, "_migrate", lambda path: migrated.append(path) or path.touch())
    assert ensure_store(tmp_path / "mlflow.sqlite", cache=tmp_path / "file" / "cache")
    assert len(migrated) == 1


def test_a_home_that_cannot_be_written_is_named_with_what_to_set(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(PlaceError, match=r"file/home.*--tracking-uri"):
        ensure_store(tmp_path / "file" / "home" / "mlflow.sqlite")
