"""What the ledger takes: new trials, packs, trials to reuse, receipts; idempotency keys and quotas of submissions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NotRequired, TypedDict


@dataclass(frozen=True, slots=True)
class NewTrial:
    """A trial to be created. `swept` may hold any JSON value, non-finite floats included."""

    trial_id: str
    cell_id: str
    round: int
    workload: str
    optimizer: str
    schedule: str
    peak_lr: float
    """Finite."""
    seed: Mapping[str, int]
    swept: Mapping[str, Any]
    measurement_id: str
    num_index: int
    """Position in the study, from 0, unique over all rounds."""
    steps: int = 0
    """Updates that it makes in full."""


@dataclass(frozen=True, slots=True)
class NewPack:
    """A pack of a plan. `pack_id` is unique over all studies, because record files are named by it."""

    pack_id: str
    group_key: str
    size: int
    """Slots, padding included."""
    chunk_steps: int
    members: Sequence[tuple[str, int]]
    """(trial_id, slot)."""
    execution_id: str
    plan: Mapping[str, Any] = field(default_factory=dict)
    """What else the plan fixes for this pack (probe points, stacked, ...)."""


@dataclass(frozen=True, slots=True)
class Reuse:
    """A finished trial of another study that stands for the trial of the same three ids."""

    trial_id: str
    source_study_id: str
    execution_id: str


class Result(TypedDict):
    """One trial's part of a receipt."""

    trial_id: str
    slot: int
    state: str
    """`done` or `errored`."""
    outcome: str | None
    """schemas.trials.Outcome where done, None where errored."""
    summary: Mapping[str, Any]
    reason: NotRequired[str]


@dataclass(frozen=True, slots=True)
class PackProgress:
    """What is durable of one attempt at a pack."""

    pack_id: str
    attempt: int
    manifest: Sequence[Mapping[str, Any]]
    checkpoint: Mapping[str, Any] | None
    """None keeps the last one."""
    step: int


@dataclass(frozen=True, slots=True)
class Receipt:
    """A finished pack, as its trainer reports it."""

    pack_id: str
    attempt: int
    manifest: Sequence[Mapping[str, Any]]
    results: Sequence[Result]
    seconds: float
    """Wall time of `timed_steps` steps."""
    steps: int
    """Steps of the pack whose records are in the manifest."""
    timed_steps: int | None = None
    """Steps that `seconds` cover, where a resumed attempt made fewer than `steps`."""


@dataclass(frozen=True, slots=True)
class Idempotency:
    """What makes a request safe to repeat: the client's key, unique per owner, and the hash of what it came with."""

    key: str
    """1 to 255 characters."""
    body_sha256: str
    """64 hex digits."""

    def __post_init__(self) -> None:
        if not (1 <= len(self.key) <= 255 and self.key.isprintable()):
            raise ValueError(f"idempotency key: got {len(self.key)} characters, allowed 1 to 255 printable ones")


@dataclass(frozen=True, slots=True)
class Quota:
    """What may be unfinished of what came with one API key, the new study included; None means no limit."""

    studies_queued: int | None = None
    trials_unfinished: int | None = None
    steps_unfinished: int | None = None
