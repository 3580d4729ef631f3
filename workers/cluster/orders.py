"""What passes between a driver and its trainers: orders one way, progress the other. Never data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas.trials import PackTask


@dataclass(frozen=True)
class PackOrder:
    """One attempt at one pack."""

    task: PackTask
    attempt: int
    manifest: list[dict[str, Any]]
    """Durable records of the attempt before, to resume from."""
    checkpoint: dict[str, Any] | None


@dataclass(frozen=True)
class Progress:
    """Where an attempt stands: everything that it names is durable."""

    pack_id: str
    attempt: int
    step: int
    timed_steps: int
    """Steps made by this attempt."""
    manifest: list[dict[str, Any]]
    checkpoint: dict[str, Any] | None
    seconds: float
    """Wall time of this attempt so far."""
    results: list[dict[str, Any]] | None = None
    """One per member once the pack is done."""
    replaced: tuple[dict[str, Any], ...] = ()
    """Segments that are in `manifest` no more, merged into others: deleted once it is committed."""
    replaced_checkpoints: tuple[dict[str, Any], ...] = ()
    """Those before `checkpoint`: deleted once it is committed."""
    error: str | None = None
    """The traceback, where the attempt has failed."""
    reason: str = ""
    """One line of it."""
    is_place_error: bool = False
    """Whether it failed because the records cannot be written or read, which is no fault of the pack."""
    is_out_of_memory: bool = False
    """Whether there was no room for it."""
    is_of_all: bool = True
    """Whether it failed before any of its members had a part in it: their data cannot be had, say."""
    is_of_node: bool = False
    """Whether it failed by what another node may have: the data, or a file of the user's code."""
    is_damaged: bool = False
    """Whether it failed because a durable record or checkpoint of this pack is gone or has other bytes."""


@dataclass(frozen=True)
class TrainerFacts:
    """What a trainer says of the machine that it runs on."""

    device_class: str
    torch_version: str
    cpu_capability: str | None
    cuda_version: str | None
    intra_op_threads: int
    origins: Mapping[str, str]
    """Package -> folder that it was imported from."""


@dataclass(frozen=True)
class Greeting:
    """What a trainer says first: of its machine, and whether it can work for this driver there."""

    facts: TrainerFacts | None
    """None where it has none to tell: see `problem`."""
    node_id: str = ""
    problem: str = ""
    """Why it can train nothing for this driver, on this node."""
    is_of_records: bool = False
    """Whether the problem is that the driver's place of the records is not the one of that name there."""
