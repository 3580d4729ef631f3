"""trial -> pack, slot, size: which trials train as one, stacked along a leading axis."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

from schemas.base import canonical_json, without_defaults
from schemas.catalog import DatasetFacts, dataset_facts, num_train_examples
from schemas.own_parts import NO_PARTS, OwnParts
from schemas.plugins import PluginOptimizer
from schemas.schedules import ClosedLoopWarmup
from schemas.trials import TrialSpec, batch_size_of, total_steps
from schemas.workloads import Workload
from workers.planning.facts import num_parameters, operations_per_example, row_kind

CHUNK_S = 2.0
"""A chunk takes at most about this long, so that cancel and preemption are obeyed soon."""
CHUNK_STEPS = 100
"""Steps per chunk, at most, where nothing is known of this device class."""
ASSUMED_FLOPS = 2e10
"""Operations per second of one core in float32: what a chunk of a large model is kept short by until one has run."""
ASSUMED_STEP_S = 2e-3
"""What a step takes beside its operations, where nothing is known."""
CHECKPOINT_S = 20.0
"""Training between two checkpoints, about: the plan turns it into steps, so that no clock decides when one is made."""


@dataclass(frozen=True)
class PackPlan:
    """One pack: the trials in its slots, by trial id."""

    pack_id: str
    group_key: str
    size: int
    chunk_steps: int
    checkpoint_steps: int
    """A checkpoint is made at every multiple of this: at most so many steps are made again when a process is lost."""
    total_steps: int
    trial_ids: tuple[str, ...]
    """Slot i holds trial_ids[i]; the slots after them are padding."""
    unstacked: str = ""
    """Why it has one slot and runs as its parts are written; empty for a stacked pack."""


def plan_packs(
    trials: Sequence[TrialSpec],
    datasets: Mapping[str, DatasetFacts],
    *,
    own: OwnParts = NO_PARTS,
    device_class: str,
    pack_size: int | None = None,
    steps_per_second: Mapping[str, float] | None = None,
) -> list[PackPlan]:
    """Packs in the order of their first trials. Pure: the same arguments give the same plan.

    Args:
        own: what was found out about the user's own parts: trials that cannot be stacked have packs of one.
        pack_size: overrides the table (1 trains every trial alone).
        steps_per_second: group key -> pack steps per second seen before, for chunks of at most about 2 s.
    """
    groups: dict[str, list[TrialSpec]] = {}
    for trial in trials:
        groups.setdefault(group_key(trial), []).append(trial)
    packs = []
    for key, members in groups.items():
        facts = dataset_facts(members[0].workload, datasets)
        parameters = num_parameters(members[0].workload, facts, own)
        unstacked = own.why_unstacked(members[0].workload, members[0].optimizer)
        size = 1 if unstacked else pack_size
        size = size or table_pack_size(device_class, row_kind(members[0].workload, own), parameters)
        steps = total_steps(members[0].workload, facts)
        seen = (steps_per_second or {}).get(key)
        operations = _operations_per_step(members[0].workload, facts, own) * size
        chunk = _chunk_steps(steps, seen, operations)
        checkpoint = _checkpoint_steps(chunk, seen, operations)
        for first in range(0, len(members), size):
            ids = tuple(trial.trial_id for trial in members[first : first + size])
            packs.append(PackPlan(_pack_id(key, size, ids), key, size, chunk, checkpoint, steps, ids, unstacked))
    return packs


def group_key(trial: TrialSpec) -> str:
    """16 hex digits: trials with equal keys run the same sequence of operations, so they may share a pack."""
    return _group_key(trial.workload, trial.optimizer, trial.schedule.warmup if _is_closed(trial) else None)


def table_pack_size(device_class: str, kind: str, parameters: int) -> int:
    """The stored pack size for a model of this kind and size on this device class (pack_sizes.json)."""
    table = _table()
    by_kind = table.get(device_class) or table["cpu" if device_class == "cpu" else "cuda"]
    for row in by_kind[kind]:
        if row["max_parameters"] is None or parameters <= row["max_parameters"]:
            return int(row["pack_size"])
    raise AssertionError(f"the table's last row for {kind} has no bound")


@lru_cache(maxsize=4096)
def _group_key(workload: object, optimizer: object, closed_warmup: object) -> str:
    said = without_defaults(optimizer)  # type: ignore[arg-type]
    named_by = "label" if isinstance(optimizer, PluginOptimizer) else "name"
    for name in (named_by, "peak_lrs", *optimizer.STACKED):  # type: ignore[attr-defined]
        said.pop(name, None)
    shared = without_defaults(workload)  # type: ignore[arg-type]
    shared.pop("name", None)
    closed = without_defaults(closed_warmup) if closed_warmup is not None else None  # type: ignore[arg-type]
    body = canonical_json({"workload": shared, "optimizer": said, "closed_warmup": closed})
    return hashlib.sha256(body).hexdigest()[:16]


def _is_closed(trial: TrialSpec) -> bool:
    return isinstance(trial.schedule.warmup, ClosedLoopWarmup)


def _pack_id(key: str, size: int, ids: tuple[str, ...]) -> str:
    return hashlib.sha256(canonical_json([key, size, list(ids)])).hexdigest()[:20]


def _chunk_steps(steps: int, steps_per_second: float | None, operations_per_step: float) -> int:
    if steps_per_second is None:
        return max(1, min(CHUNK_STEPS, steps, int(CHUNK_S * ASSUMED_FLOPS / operations_per_step)))
    return min(max(1, int(CHUNK_S * steps_per_second)), steps)


def _checkpoint_steps(chunk_steps: int, steps_per_second: float | None, operations_per_step: float) -> int:
    """Whole chunks: a checkpoint is made between two."""
    if steps_per_second is None:
        steps_per_second = 1.0 / (ASSUMED_STEP_S + operations_per_step / ASSUMED_FLOPS)
    return chunk_steps * max(1, int(CHECKPOINT_S * steps_per_second / chunk_steps))


def _operations_per_step(workload: Workload, facts: DatasetFacts | None, own: OwnParts) -> float:
    """Of one trial."""
    examples = batch_size_of(workload, num_train_examples(workload, facts))
    return operations_per_example(workload, facts, own) * examples


@lru_cache(maxsize=1)
def _table() -> dict[str, dict[str, list[dict[str, int | None]]]]:
    text = (resources.files("workers.planning") / "pack_sizes.json").read_text(encoding="utf-8")
    return json.loads(text)["pack_sizes"]  # type: ignore[no-any-return]
