"""Trackers to test with: the same contract on MLflow's SQLite store and in memory. One migrated file per session."""

import importlib
import math
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import stamina

from workers.tracking.memory_tracker import MemoryTracker
from workers.tracking.mlflow_tracker import MlflowTracker
from workers.tracking.port import Tracker
from workers.tracking.prepare import ensure_store
from workers.tracking.switches import set_switches

set_switches()
with warnings.catch_warnings():
    # What MLflow's store does with SQLAlchemy on import is not ours to mend.
    warnings.simplefilter("ignore")
    importlib.import_module("mlflow.store.tracking.sqlalchemy_store")
    from mlflow import MlflowClient


@pytest.fixture(autouse=True)
def _retries_are_not_logged() -> Iterator[None]:
    """As in a publisher's process. What other tests have configured may write to a stream that is closed."""
    before = stamina.instrumentation.get_on_retry_hooks()
    stamina.instrumentation.set_on_retry_hooks([])
    yield
    stamina.instrumentation.set_on_retry_hooks(before)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The session's own cache, whatever lies in the person's."""
    folder = tmp_path_factory.mktemp("cache")
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(folder)
    ensure_store(folder / "unused" / "mlflow.sqlite")
    yield folder / "warmup-bench"
    if before is None:
        del os.environ["XDG_CACHE_HOME"]
    else:
        os.environ["XDG_CACHE_HOME"] = before


@dataclass
class RunView:
    """A run as it can be read back; points as sorted (key, step, timestamp_ms, value as text)."""

    status: str
    name: str
    params: dict[str, str]
    tags: dict[str, str]
    points: list[tuple[str, int, int, str]]
    artifacts: set[str]


class Reader:
    """Reads back what a tracker holds, by other means than the tracker's own."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker

    def run(self, run_id: str) -> RunView:
        if isinstance(self._tracker, MemoryTracker):
            run = self._tracker.runs[run_id]
            points = [(point.key, point.step, point.timestamp_ms, point.value) for point in run.points.values()]
            return RunView(run.status, run.name, run.params, run.tags, _sorted(points), set(run.artifacts))
        client = MlflowClient(tracking_uri=self._tracker.uri)
        run = client.get_run(run_id)
        points = [
            (point.key, point.step, point.timestamp, point.value)
            for key in run.data.metrics
            for point in client.get_metric_history(run_id, key)
        ]
        artifacts = set(_walk(client, run_id, None))
        return RunView(run.info.status, run.info.run_name, run.data.params, run.data.tags, _sorted(points), artifacts)

    def experiment_tags(self, name: str) -> dict[str, str]:
        if isinstance(self._tracker, MemoryTracker):
            return dict(self._tracker.experiments[name].tags)
        return dict(MlflowClient(tracking_uri=self._tracker.uri).get_experiment_by_name(name).tags)


def _sorted(points: list[tuple[str, int, int, float]]) -> list[tuple[str, int, int, str]]:
    return sorted(
        (key, step, timestamp, "nan" if math.isnan(value) else repr(value)) for key, step, timestamp, value in points
    )


def _walk(client: MlflowClient, run_id: str, folder: str | None) -> Iterator[str]:
    for entry in client.list_artifacts(run_id, folder):
        if entry.is_dir:
            yield from _walk(client, run_id, entry.path)
        else:
            yield entry.path


@pytest.fixture
def mlflow_tracker(tmp_path: Path) -> MlflowTracker:
    return MlflowTracker(f"sqlite:///{tmp_path / 'home' / 'mlflow.sqlite'}", tmp_path / "home" / "mlflow-artifacts")


@pytest.fixture(params=["mlflow", "memory"])
def tracker(request: pytest.FixtureRequest) -> Tracker:
    return MemoryTracker() if request.param == "memory" else request.getfixturevalue("mlflow_tracker")


@pytest.fixture
def reader(tracker: Tracker) -> Reader:
    return Reader(tracker)
