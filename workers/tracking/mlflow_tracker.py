"""The tracker that is MLflow: `MlflowClient` with the address passed explicitly, nothing global, nothing fluent."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import override

from schemas.errors import PlaceError
from workers.tracking.names import KEY_TAG
from workers.tracking.port import Batch, Experiment, FoundRun, PublicationRefused, Tracker, TrackerUnavailable
from workers.tracking.prepare import ensure_store
from workers.tracking.publications import EndStatus, MetricPoint
from workers.tracking.switches import set_switches

if TYPE_CHECKING:
    from mlflow import MlflowClient

_RUNS_PER_PAGE = 1_000
_SQLITE_PREFIX = "sqlite:///"
# What MLflow answers when the request itself is at fault. All else may be different a minute later.
_REFUSALS = {
    "INVALID_PARAMETER_VALUE",
    "RESOURCE_DOES_NOT_EXIST",
    "RESOURCE_ALREADY_EXISTS",
    "BAD_REQUEST",
    "INVALID_STATE",
}


class MlflowTracker(Tracker):
    """Runs in an MLflow store or server.

    Args:
        uri: `sqlite:////absolute/file`, or the address of a server (`http://...`).
        artifact_root: folder for the artifacts of new experiments; None leaves the choice to the server.

    Nothing is imported, opened or connected before the first call: a store that cannot be reached then is a
    TrackerUnavailable like any other.
    """

    def __init__(self, uri: str, artifact_root: Path | None = None) -> None:
        self.uri = uri
        self._artifact_root = artifact_root

    @override
    def find_or_create_experiment(self, name: str, tags: Mapping[str, str]) -> Experiment:
        found = self.find_experiment(name)
        if found is not None:
            return found
        location = None if self._artifact_root is None else (self._artifact_root / name).absolute().as_uri()
        try:
            with _translated():
                experiment_id = self._client.create_experiment(name, artifact_location=location, tags=dict(tags))
        except PublicationRefused:
            found = self.find_experiment(name)  # another process was faster, and the name is unique
            if found is None:
                raise
            return found
        return Experiment(experiment_id, dict(tags))

    @override
    def find_experiment(self, name: str) -> Experiment | None:
        with _translated():
            found = self._client.get_experiment_by_name(name)
        if found is None:
            return None
        if found.lifecycle_stage == "deleted":
            raise PublicationRefused(f"MLflow experiment {name!r} was deleted: restore it, or run `mlflow gc`")
        return Experiment(found.experiment_id, found.tags)

    @override
    def set_experiment_tag(self, experiment_id: str, key: str, value: str) -> None:
        with _translated():
            self._client.set_experiment_tag(experiment_id, key, value)

    @override
    def find_runs(self, experiment_id: str, key: str | None = None) -> Sequence[FoundRun]:
        # A key holds no quote: it is made of ids.
        filter_string = "" if key is None else f"tags.`{KEY_TAG}` = '{key}'"
        found: list[FoundRun] = []
        token = None
        while True:
            with _translated():
                page = self._client.search_runs(
                    [experiment_id], filter_string, max_results=_RUNS_PER_PAGE, page_token=token
                )
            for run in page:
                tags = run.data.tags
                if KEY_TAG in tags:
                    found.append(FoundRun(run.info.run_id, tags[KEY_TAG], run.info.status, tags))
            token = page.token
            if not token:
                return found

    @override
    def read_points(self, run_id: str) -> Sequence[MetricPoint]:
        found: list[MetricPoint] = []
        with _translated():
            for key in self._client.get_run(run_id).data.metrics:
                history = self._client.get_metric_history(run_id, key)
                found += [MetricPoint(point.key, point.value, point.step, point.timestamp) for point in history]
        return found

    @override
    def create_run(self, experiment_id: str, name: str, start_time_ms: int, tags: Mapping[str, str]) -> str:
        with _translated():
            run = self._client.create_run(experiment_id, start_time=start_time_ms, tags=dict(tags), run_name=name)
        return str(run.info.run_id)

    @override
    def log(self, run_id: str, batch: Batch) -> None:
        from mlflow.entities import Metric, Param, RunTag

        metrics = [Metric(point.key, point.value, point.timestamp_ms, point.step) for point in batch.metrics]
        params = [Param(key, value) for key, value in batch.params]
        tags = [RunTag(key, value) for key, value in batch.tags]
        with _translated():
            self._client.log_batch(run_id, metrics=metrics, params=params, tags=tags)

    @override
    def end_run(self, run_id: str, status: EndStatus, end_time_ms: int) -> None:
        with _translated():
            self._client.set_terminated(run_id, status=status.value, end_time=end_time_ms)

    @override
    def upload(self, run_id: str, path: Path, folder: str = "") -> None:
        with _translated():
            self._client.log_artifact(run_id, str(path), folder or None)

    @override
    def upload_text(self, run_id: str, text: str, name: str) -> None:
        with _translated():
            self._client.log_text(run_id, text, name)

    @override
    def discard_run(self, run_id: str) -> None:
        with _translated():
            self._client.delete_run(run_id)

    @cached_property
    def _client(self) -> "MlflowClient":
        set_switches()
        from mlflow import MlflowClient

        if self.uri.startswith(_SQLITE_PREFIX):
            ensure_store(Path(self.uri.removeprefix(_SQLITE_PREFIX)))
        try:
            return MlflowClient(tracking_uri=self.uri)
        except Exception:
            # Whoever opens a new store first adds the Default experiment; whoever does so at the same moment fails.
            return MlflowClient(tracking_uri=self.uri)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except PlaceError as error:
        raise PublicationRefused(str(error)) from error
    # MLflow lets the errors of a dozen drivers, HTTP and storage libraries through: it is the tracker that failed.
    except Exception as error:
        refused = getattr(error, "error_code", None) in _REFUSALS
        raise (PublicationRefused if refused else TrackerUnavailable)(f"MLflow: {error}") from error
