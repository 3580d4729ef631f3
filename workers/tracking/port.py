"""What a tracker must be able to do: the port that MLflow and the in-memory tracker implement."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from schemas.errors import WarmupBenchError
from workers.tracking.publications import EndStatus, MetricPoint


class TrackerUnavailable(WarmupBenchError):
    """The tracker did not answer, or not as a tracker: worth trying again later."""

    code = "tracker_unavailable"


class PublicationRefused(WarmupBenchError):
    """The tracker answered that it will not take this: trying again changes nothing."""

    code = "publication_refused"


@dataclass(frozen=True, slots=True)
class Experiment:
    """A group of runs; its name is unique in the tracker."""

    experiment_id: str
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class FoundRun:
    """A run that carries the key tag."""

    run_id: str
    key: str
    status: str
    """RUNNING, or one of EndStatus."""
    tags: Mapping[str, str]


@dataclass(slots=True)
class Batch:
    """What goes to one run in one call; within the limits of names.py."""

    metrics: list[MetricPoint] = field(default_factory=list)
    params: list[tuple[str, str]] = field(default_factory=list)
    tags: list[tuple[str, str]] = field(default_factory=list)


class Tracker(Protocol):
    """Every method raises TrackerUnavailable or PublicationRefused, and nothing else, when the tracker fails."""

    def find_or_create_experiment(self, name: str, tags: Mapping[str, str]) -> Experiment:
        """The experiment called `name`; of several callers at once, all get the same one."""

    def find_experiment(self, name: str) -> Experiment | None:
        """The experiment called `name`, or None."""

    def set_experiment_tag(self, experiment_id: str, key: str, value: str) -> None:
        """Set or replace a tag."""

    def find_runs(self, experiment_id: str, key: str | None = None) -> Sequence[FoundRun]:
        """The runs that are not deleted and carry the key tag: all of them, or those whose tag is `key`."""

    def read_points(self, run_id: str) -> Sequence[MetricPoint]:
        """Every point that the run holds, in any order."""

    def create_run(self, experiment_id: str, name: str, start_time_ms: int, tags: Mapping[str, str]) -> str:
        """A new run in state RUNNING; its id."""

    def log(self, run_id: str, batch: Batch) -> None:
        """Add points (equal ones are kept once), parameters (which cannot change) and tags (the newest wins)."""

    def end_run(self, run_id: str, status: EndStatus, end_time_ms: int) -> None:
        """Give the run its final status."""

    def upload(self, run_id: str, path: Path, folder: str = "") -> None:
        """Copy a file into the run's artifacts; one of the same name is replaced."""

    def upload_text(self, run_id: str, text: str, name: str) -> None:
        """Write `text` as the artifact `name` (folders with slashes)."""

    def discard_run(self, run_id: str) -> None:
        """Delete the run, in MLflow's restorable sense."""
