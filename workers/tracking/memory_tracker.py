"""A tracker in memory, with MLflow's rules and limits: for tests, and for seeing what would be sent."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from typing_extensions import override

from workers.tracking import names
from workers.tracking.port import Batch, Experiment, FoundRun, PublicationRefused, Tracker, TrackerUnavailable
from workers.tracking.publications import EndStatus, MetricPoint


@dataclass
class MemoryRun:
    """One run, with the whole history of its metrics."""

    run_id: str
    experiment_id: str
    name: str
    start_time_ms: int
    tags: dict[str, str]
    status: str = "RUNNING"
    end_time_ms: int | None = None
    params: dict[str, str] = field(default_factory=dict)
    points: dict[tuple[object, ...], MetricPoint] = field(default_factory=dict)
    artifacts: dict[str, bytes] = field(default_factory=dict)
    discarded: bool = False


class MemoryTracker(Tracker):
    """`is_down` makes every call fail, `latency_s` makes it slow; `num_calls` counts them."""

    def __init__(self, latency_s: float = 0.0) -> None:
        self.latency_s = latency_s
        self.is_down = False
        self.num_calls = 0
        self.experiments: dict[str, Experiment] = {}
        self.runs: dict[str, MemoryRun] = {}

    @override
    def find_or_create_experiment(self, name: str, tags: Mapping[str, str]) -> Experiment:
        self._call()
        return self.experiments.setdefault(name, Experiment(str(len(self.experiments) + 1), dict(tags)))

    @override
    def find_experiment(self, name: str) -> Experiment | None:
        self._call()
        return self.experiments.get(name)

    @override
    def set_experiment_tag(self, experiment_id: str, key: str, value: str) -> None:
        self._call()
        if len(value) > names.MAX_EXPERIMENT_TAG_LENGTH:
            raise PublicationRefused(f"experiment tag {key}: got {len(value)} characters")
        experiment = next(found for found in self.experiments.values() if found.experiment_id == experiment_id)
        self.experiments = {
            name: Experiment(experiment_id, {**found.tags, key: value}) if found is experiment else found
            for name, found in self.experiments.items()
        }

    @override
    def find_runs(self, experiment_id: str, key: str | None = None) -> Sequence[FoundRun]:
        self._call()
        return [
            FoundRun(run.run_id, run.tags[names.KEY_TAG], run.status, dict(run.tags))
            for run in self.runs.values()
            if run.experiment_id == experiment_id and not run.discarded
            if key in (None, run.tags[names.KEY_TAG])
        ]

    @override
    def read_points(self, run_id: str) -> Sequence[MetricPoint]:
        self._call()
        return list(self._run(run_id).points.values())

    @override
    def create_run(self, experiment_id: str, name: str, start_time_ms: int, tags: Mapping[str, str]) -> str:
        self._call()
        run_id = f"{len(self.runs):032x}"
        self.runs[run_id] = MemoryRun(run_id, experiment_id, name, start_time_ms, dict(tags))
        return run_id

    @override
    def log(self, run_id: str, batch: Batch) -> None:
        self._call()
        run = self._run(run_id)
        _check_limits(batch)
        changed = [key for key, value in batch.params if run.params.get(key, value) != value]
        if changed:
            raise PublicationRefused(f"parameters cannot change: {changed}")
        run.params.update(batch.params)
        run.tags.update(batch.tags)
        # NaN differs from itself: its place in the key is taken by the fact that it is one.
        run.points.update(
            ((point.key, point.timestamp_ms, point.step, math.isnan(point.value) or point.value), point)
            for point in batch.metrics
        )

    @override
    def end_run(self, run_id: str, status: EndStatus, end_time_ms: int) -> None:
        self._call()
        run = self._run(run_id)
        run.status, run.end_time_ms = status.value, end_time_ms

    @override
    def upload(self, run_id: str, path: Path, folder: str = "") -> None:
        self._call()
        self._run(run_id).artifacts[f"{folder}/{path.name}".lstrip("/")] = path.read_bytes()

    @override
    def upload_text(self, run_id: str, text: str, name: str) -> None:
        self._call()
        self._run(run_id).artifacts[name] = text.encode()

    @override
    def discard_run(self, run_id: str) -> None:
        self._call()
        self._run(run_id).discarded = True

    def _call(self) -> None:
        self.num_calls += 1
        time.sleep(self.latency_s)
        if self.is_down:
            raise TrackerUnavailable("down")

    def _run(self, run_id: str) -> MemoryRun:
        run = self.runs.get(run_id)
        if run is None or run.discarded:
            raise PublicationRefused(f"no run {run_id}")
        return run


def _check_limits(batch: Batch) -> None:
    limits = (
        (len(batch.metrics), names.MAX_METRICS_PER_BATCH),
        (len(batch.params), names.MAX_PARAMS_PER_BATCH),
        (len(batch.tags), names.MAX_TAGS_PER_BATCH),
        (len(batch.metrics) + len(batch.params) + len(batch.tags), names.MAX_ENTITIES_PER_BATCH),
        (max((len(value) for _, value in batch.params), default=0), names.MAX_PARAM_LENGTH),
        (max((len(value) for _, value in batch.tags), default=0), names.MAX_TAG_LENGTH),
    )
    if any(got > allowed for got, allowed in limits):
        raise PublicationRefused(f"batch beyond the limits: (got, allowed) {limits}")
