"""What a publisher is fed: plain data, one publication for each MLflow run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from schemas.trials import TrialState


class MetricPoint(NamedTuple):
    """One point of one curve. MLflow's primary key is all four (and the run): equal points are one row."""

    key: str
    value: float
    step: int
    timestamp_ms: int
    """Derived from the point (see `curve`), never the time of sending: sent twice, it must be the same point."""


class EndStatus(StrEnum):
    """How a run ended, in MLflow's words."""

    FINISHED = "FINISHED"
    FAILED = "FAILED"
    KILLED = "KILLED"


_END_STATUS = {
    TrialState.DONE: EndStatus.FINISHED,  # diverged and stalled too: they are findings
    TrialState.ERRORED: EndStatus.FAILED,
    TrialState.CANCELLED: EndStatus.KILLED,
}


def end_status(state: TrialState) -> EndStatus | None:
    """The run's status for a trial's or a study's state; None while it is not final."""
    return _END_STATUS.get(state)


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """What a tracker is known to hold of one publication: to be stored by the caller, and handed in again next time."""

    key: str
    run_id: str
    num_points: int = 0
    """Points of the publication's stream that are there, counted from its first."""
    ended: bool = False
    """The run has its final status: nothing is left to do."""


@dataclass(frozen=True, kw_only=True)
class StudyPublication:
    """What the experiment and the parent run of a study are made from."""

    study_id: str
    name: str
    spec_json: str
    epoch_ms: int
    """The study's creation, in milliseconds since 1970: where its points' timestamps begin."""
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TrialPublication:
    """One child run: a trial, or a whole cell in a study with more trials than `tracking_max_runs`."""

    key: str
    """`STUDY/TRIAL` or `STUDY/CELL`: the run is found again by it."""
    name: str
    params: Mapping[str, object] = field(default_factory=dict)
    """Sent as text, and never changed: MLflow refuses that. None or empty: not known yet, left out."""
    tags: Mapping[str, str] = field(default_factory=dict)
    points: Sequence[MetricPoint] = ()
    """The stream of points from number `acknowledged.num_points` on (from the first, where nothing is acknowledged)."""
    headline: Mapping[str, float] = field(default_factory=dict)
    """Single-valued metrics that runs are compared by (final_ and best_ of schemas.records); sent with the status."""
    headline_step: int = 0
    epoch_ms: int
    """The study's `epoch_ms`."""
    start_time_ms: int | None = None
    end_time_ms: int | None = None
    status: EndStatus | None = None
    """None while the trial still runs: more points will follow."""
    acknowledged: Acknowledgement | None = None


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file for a run's artifacts, put in `folder` (the top where empty) under its own name."""

    path: Path
    folder: str = ""


@dataclass(frozen=True, kw_only=True)
class ParentPublication:
    """What a study's parent run gets: report, figures, spec, and the verdict as its note."""

    key: str
    """The study's id."""
    artifacts: Sequence[Artifact] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    metrics_step: int = 0
    """Grows with what the metrics are made from (final trials, say): of two reports the later one shows."""
    params: Mapping[str, object] = field(default_factory=dict)
    """MLflow refuses to change one: what may change is a tag."""
    tags: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    """Markdown, shown at the top of the run and of the experiment."""
    epoch_ms: int
    end_time_ms: int | None = None
    status: EndStatus | None = None


@dataclass(frozen=True, slots=True)
class StudyRuns:
    """Where a study lives in the tracker."""

    experiment_id: str
    experiment_name: str
    parent_run_id: str
    created: bool
    """The parent run is new: whatever was acknowledged before went to another store, and must be sent again."""
