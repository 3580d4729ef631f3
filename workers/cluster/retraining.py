"""`python -m workers.cluster.retraining`: trains some trials of a study again, from its plan, and compares the bits.

The order comes as JSON on stdin, the answer goes as JSON to stdout. Writes to no place of the study, and needs no Ray.
"""

import hashlib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from schemas.study import parse_study
from schemas.trials import TrialState
from workers.cluster.facts import TRAINER_ENVIRONMENT, trainer_facts
from workers.cluster.orders import PackOrder, TrainerFacts
from workers.cluster.planning import StudyTrials, datasets_of, pack_task
from workers.inspecting import recall
from workers.ledger.ledger import Ledger
from workers.ledger.rows import PackRow
from workers.places import Places
from workers.records import RecordStore, SegmentRef

TABLES = ("steps", "evaluations", "probes", "events")
"""All but timings."""


@dataclass
class Retrained:
    """What was trained again, what could not be, and what came out otherwise, a line each."""

    trial_ids: list[str] = field(default_factory=list)
    num_rows: int = 0
    left_out: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)


def retrain(ledger: Ledger, study_id: str, places: Places, num_trials: int) -> Retrained:
    """Train `num_trials` done trials again, the same ones whenever it is asked for."""
    done = [trial for trial in ledger.trials(study_id) if trial.state is TrialState.DONE]
    chosen = sorted(done, key=lambda trial: hashlib.sha256(f"{study_id}{trial.trial_id}".encode()).digest())
    wanted: dict[str, list[str]] = {}
    for trial in chosen[:num_trials]:
        wanted.setdefault(trial.pack_id or "", []).append(trial.trial_id)
    answer, trials_of = Retrained(), {}
    for pack in ledger.packs_by_id(wanted):
        # A trial that was taken over has its pack in another study.
        if pack.study_id not in trials_of:
            study = parse_study(ledger.study(pack.study_id).spec)
            trials_of[pack.study_id] = StudyTrials(study, datasets_of(ledger), recall(study, places))
        _retrain_pack(pack, trials_of[pack.study_id], wanted[pack.pack_id], places, answer)
    return answer


def _retrain_pack(
    pack: PackRow, trials: StudyTrials, trial_ids: Sequence[str], places: Places, answer: Retrained
) -> None:
    from workers.cluster.pack_runner import PackRunner

    planned = TrainerFacts(**pack.plan["facts"], origins={})
    device = "cpu" if planned.device_class == "cpu" else "cuda"
    if (differing := _other_machine(planned, device)) is not None:
        answer.left_out.append(f"pack {pack.pack_id}: {differing}; the bits of such a machine cannot be made here")
        return
    task = pack_task(pack, trials, device)
    with TemporaryDirectory(prefix="warmup-bench-verify-") as folder:
        runner = PackRunner(folder, places.data)
        progress = runner.advance(PackOrder(task, 1, [], None), 1e9)
        while progress.results is None and progress.error is None:
            progress = runner.advance(None, 1e9)
        if progress.error is not None:
            answer.findings.append(f"pack {pack.pack_id}: it could not be trained again: {progress.reason}")
            return
        answer.trial_ids += trial_ids
        for table in TABLES:
            before = _rows(RecordStore(places.records), pack.manifest, table, trial_ids)
            again = _rows(RecordStore(folder), progress.manifest, table, trial_ids)
            answer.num_rows += before.num_rows
            if not same_bits(before, again):
                answer.findings.append(f"pack {pack.pack_id}: {table} of {_named(trial_ids)} have other bits")


def same_bits(one: pa.Table, other: pa.Table) -> bool:
    """Whether two tables hold the same rows in the same order, NaN equal to NaN and 0.0 different from -0.0."""
    if one.schema != other.schema or one.num_rows != other.num_rows:
        return False
    return all(_text(one[name]) == _text(other[name]) for name in one.column_names)


def _text(column: pa.ChunkedArray) -> list[str]:
    return [repr(value) for value in column.to_pylist()]


def _other_machine(planned: TrainerFacts, device: str) -> str | None:
    try:
        here = trainer_facts(device)
    except (AssertionError, RuntimeError):
        return f"it was trained on {planned.device_class}, which this machine has not"
    for name, value in asdict(planned).items():
        if name != "origins" and value != getattr(here, name):
            return f"it was trained with {name} {value}, here it is {getattr(here, name)}"
    return None


def _rows(store: RecordStore, manifest: Sequence[dict[str, Any]], table: str, trial_ids: Sequence[str]) -> pa.Table:
    segments = tuple(SegmentRef(**row) for row in manifest)
    rows = store.read(segments, table, trial_ids=trial_ids)
    index = rows.schema.get_field_index("trial_id")
    return rows.set_column(index, "trial_id", rows["trial_id"].cast(pa.string()))


def _named(trial_ids: Sequence[str]) -> str:
    return ", ".join(trial_id[:12] for trial_id in trial_ids)


def main(order: dict[str, Any]) -> None:
    """`order`: study_id, home, ledger and records (paths or URLs), data (folder), plugins (files), num_trials."""
    os.environ.update(TRAINER_ENVIRONMENT)  # before torch is imported
    import torch

    torch.set_num_threads(1)
    from workers.plugins import use_files

    use_files(order["plugins"])
    plugins = tuple(map(Path, order["plugins"]))
    places = Places(
        Path(order["home"]), order["ledger"], order["records"], Path(order["data"]), tracking_uri=None, plugins=plugins
    )
    with Ledger.open(order["ledger"], create=False) as ledger:
        answer = retrain(ledger, order["study_id"], places, order["num_trials"])
    sys.stdout.write(f"{json.dumps(asdict(answer))}\n")


if __name__ == "__main__":
    main(json.load(sys.stdin))
