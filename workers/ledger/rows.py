"""What the ledger hands out: frozen rows, the states of packs, the kinds of events. Times are UTC."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from schemas.trials import Outcome, TrialState


class PackState(StrEnum):
    """Where a pack of the plan stands. Unlike a trial's, a cancelled or errored one may be queued again (continue)."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"
    ERRORED = "errored"
    SUPERSEDED = "superseded"

    def can_become(self, other: "PackState") -> bool:
        """Whether the move is allowed."""
        return other in _PACK_MOVES[self]


_PACK_MOVES: Mapping[PackState, frozenset[PackState]] = {
    PackState.QUEUED: frozenset({PackState.RUNNING, PackState.CANCELLED, PackState.ERRORED, PackState.SUPERSEDED}),
    PackState.RUNNING: frozenset(
        {PackState.QUEUED, PackState.DONE, PackState.CANCELLED, PackState.ERRORED, PackState.SUPERSEDED}
    ),
    PackState.DONE: frozenset(),
    PackState.CANCELLED: frozenset({PackState.QUEUED}),
    PackState.ERRORED: frozenset({PackState.QUEUED}),
    PackState.SUPERSEDED: frozenset(),
}


class EventKind(StrEnum):
    """What can happen in a study. Payloads are JSON objects."""

    STUDY_CREATED = "study_created"
    STUDY_QUEUED = "study_queued"
    STUDY_RUNNING = "study_running"
    STUDY_DONE = "study_done"
    STUDY_CANCELLED = "study_cancelled"
    STUDY_ERRORED = "study_errored"
    STUDY_CONTINUED = "study_continued"
    ROUND_ADDED = "round_added"
    PLAN_WRITTEN = "plan_written"
    PACK_STARTED = "pack_started"
    PACK_PROGRESS = "pack_progress"
    PACK_DONE = "pack_done"
    PACK_REQUEUED = "pack_requeued"
    PACK_ERRORED = "pack_errored"
    PACK_REPLANNED = "pack_replanned"
    TRIAL_DONE = "trial_done"
    TRIAL_ERRORED = "trial_errored"
    TRIALS_CANCELLED = "trials_cancelled"
    CANCEL_REQUESTED = "cancel_requested"
    PUBLISHING = "publishing"


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyHead:
    """A study without its spec. `attempt` is the fence: the number of the newest run lease."""

    id: str
    name: str
    owner: str
    priority: int
    state: TrialState
    reason: str
    publishing: str
    cancel_requested: bool
    spec_hash: str
    total: int
    """Trials in all rounds so far."""
    attempt: int
    continuations: int
    """How often it was continued after a final state."""
    device_class: str | None
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None
    version: int
    """Raised by every change of this row, the counts included."""
    last_event_seq: int
    counts: dict[str, int]
    """Trials by state, and done ones by outcome; every state and outcome is a key."""
    steps: int
    """Updates that all its trials make in full (0 for trials that an earlier version created)."""
    steps_unfinished: int
    """The part of them that belongs to trials that are not final."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRow(StudyHead):
    """A study with its resolved spec, which may have a megabyte."""

    spec: dict[str, Any]
    replayed: bool = field(default=False, compare=False)
    """`create_study` answered with the study that it made before under the same idempotency key."""


@dataclass(frozen=True, slots=True)
class ExtensionRow:
    """What a request to extend a study was answered with."""

    head: StudyHead
    """The study as it was then."""
    round: int | None
    """The number of the new round; None: there was nothing new."""
    num_new: int
    """Trials of the new round."""


@dataclass(frozen=True, slots=True)
class RoundRow:
    """One round of a study: round 0 is the product of its axes."""

    round: int
    kind: str
    body: dict[str, Any]
    num_trials: int
    planned_at: datetime | None


@dataclass(frozen=True, slots=True)
class TrialRow:
    """One attempt at a trial; only the newest attempt counts."""

    study_id: str
    trial_id: str
    attempt: int
    """1, raised by each continue that takes the trial up again."""
    is_newest: bool
    cell_id: str
    round: int
    num_index: int
    """Position in the study, from 0."""
    workload: str
    optimizer: str
    schedule: str
    peak_lr: float
    seed: dict[str, int]
    swept: dict[str, Any]
    measurement_id: str
    execution_id: str | None
    state: TrialState
    outcome: Outcome | None
    reason: str
    summary: dict[str, Any] | None
    pack_id: str | None
    slot: int | None
    replanned: bool
    reused_from: str | None
    """The study whose finished trial this one took over."""
    started_at: datetime | None
    finished_at: datetime | None
    steps: int
    """Updates that it makes in full (0 where an earlier version created it)."""


@dataclass(frozen=True, slots=True)
class PackRow:
    """One pack of the plan, with the pointer to its durable records."""

    pack_id: str
    study_id: str
    round: int
    group_key: str
    size: int
    chunk_steps: int
    members: tuple[tuple[str, int], ...]
    """(trial_id, slot)."""
    plan: dict[str, Any]
    execution_id: str
    state: PackState
    attempt: int
    """How often it was started; part of the names of its record files."""
    fence: int
    """The run lease under which it was planned, or last started."""
    step: int
    """Steps whose records are durable."""
    manifest: list[dict[str, Any]]
    checkpoint: dict[str, Any] | None
    reason: str
    log: str
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class LeaseRow:
    """Who drives (`run`), launches (`launch`) or publishes (`publish`) a study.

    `is_fresh` is by the database's clock, when read.
    """

    study_id: str
    kind: str
    owner: str
    fence: int
    acquired_at: datetime
    expires_at: datetime
    is_fresh: bool


@dataclass(frozen=True, slots=True)
class EventRow:
    """One event; `seq` is 1, 2, 3, ... within its study, without a gap."""

    seq: int
    at: datetime
    kind: EventKind
    payload: dict[str, Any]


@dataclass(frozen=True, slots=True)
class CatalogRow:
    """A published data set: what a study may name."""

    kind: str
    sha256: str
    facts: dict[str, Any]
    published_at: datetime


@dataclass(frozen=True, slots=True)
class TimingRow:
    """How long one attempt at a pack took."""

    size: int
    steps: int
    seconds: float
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class MeasuredRow:
    """What a kind of pack was measured to cost, without being trained to its end."""

    said: dict[str, Any]
    at: datetime


@dataclass(frozen=True, slots=True)
class PublicationRow:
    """How far a run in the tracker has come."""

    key: str
    run_id: str
    offset: int
    """Durable steps that were published."""
    is_final: bool
    """Whether the trial's closing values and status were published too."""


@dataclass(frozen=True, slots=True)
class UnpublishedRow:
    """A trial whose durable records are ahead of what was published."""

    trial_id: str
    pack_id: str
    slot: int
    durable_steps: int
    is_final: bool
    """The trial is final: its closing values are to be published."""
    run_id: str | None
    offset: int


@dataclass(frozen=True, slots=True)
class KeyRow:
    """An API key, without its secret: only the SHA-256 of that is kept."""

    id: str
    name: str
    owner: str
    """Whose studies it reads and writes; keys of one owner share them."""
    scopes: frozenset[str]
    """Of `read`, `submit`, `admin`."""
    sha256: str
    created_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None
    """To the minute."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What is unfinished of what came with one API key, for quotas."""

    num_queued: int
    """Studies that wait."""
    num_running: int
    """Studies that run."""
    num_trials_unfinished: int
    steps_unfinished: int
