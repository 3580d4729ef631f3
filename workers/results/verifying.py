"""Whether a study's ledger and its record files agree: every trial once, every row once, every byte as committed."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
import pyarrow as pa

from schemas.errors import CorruptRecord
from schemas.trials import TrialState
from workers.ledger.ledger import Ledger
from workers.ledger.rows import EventKind, PackRow, TrialRow
from workers.places import Places
from workers.records import Manifest, RecordStore, SegmentRef

KEYS = {
    "steps": ("trial_id", "step"),
    "evaluations": ("trial_id", "step"),
    "probes": ("trial_id", "step", "probe"),
    "events": ("trial_id", "step", "kind"),
}
"""Table -> what there is one row of."""


@dataclass
class Checked:
    """What was compared, and what is not as it should be, a line each."""

    num_trials: int = 0
    num_packs: int = 0
    num_rows: int = 0
    findings: list[str] = field(default_factory=list)


def check_records(ledger: Ledger, study_id: str, places: Places) -> Checked:
    """Compare the ledger with itself and with the records of every pack that is done. Writes nothing.

    Raises:
        PlaceError: the ledger or the records cannot be read. StudyNotFound.
    """
    trials = list(ledger.trials(study_id))
    checked = Checked(num_trials=len(trials))
    checked.findings += _counts(ledger, study_id, trials) + _events(ledger, study_id, trials)
    done = sorted((trial for trial in trials if trial.state is TrialState.DONE), key=lambda trial: trial.pack_id or "")
    by_pack = {pack_id or "": list(rows) for pack_id, rows in groupby(done, key=lambda trial: trial.pack_id)}
    store = RecordStore(places.records)
    for pack in ledger.packs_by_id(by_pack):
        checked.num_packs += 1
        try:
            checked.num_rows += _check_pack(store, pack, by_pack.pop(pack.pack_id), checked.findings)
        except CorruptRecord as error:
            checked.findings.append(f"pack {pack.pack_id}: {error}")
    checked.findings += [
        f"pack {pack_id or '?'}: it has done trials, and the ledger has no such pack" for pack_id in by_pack
    ]
    return checked


def _counts(ledger: Ledger, study_id: str, trials: Sequence[TrialRow]) -> list[str]:
    found = Counter(str(trial.state) for trial in trials) + Counter(
        str(trial.outcome) for trial in trials if trial.state is TrialState.DONE
    )
    said = {name: count for name, count in ledger.counts(study_id).items() if count}
    return [] if said == dict(found) else [f"counts: the study says {said}, its trials {dict(found)}"]


def _events(ledger: Ledger, study_id: str, trials: Sequence[TrialRow]) -> list[str]:
    seq, findings = 0, []
    ended: Counter[str] = Counter()
    while page := ledger.events(study_id, after=seq):
        for event in page:
            if event.seq != seq + 1:
                findings.append(f"events: {event.seq} follows {seq}")
            seq = event.seq
            if event.kind is EventKind.TRIAL_DONE:
                ended[event.payload["trial_id"]] += 1
    done = {trial.trial_id for trial in trials if trial.state is TrialState.DONE}
    findings += [f"trial {trial_id}: done {count} times" for trial_id, count in ended.items() if count > 1]
    findings += [f"trial {trial_id}: done, and no event says so" for trial_id in sorted(done - ended.keys())]
    return findings


def _check_pack(store: RecordStore, pack: PackRow, trials: Sequence[TrialRow], findings: list[str]) -> int:
    """The number of rows that were read, all of them: every sha256 is checked on the way."""
    manifest: Manifest = tuple(SegmentRef(**row) for row in pack.manifest)
    names = Counter(segment.name for segment in manifest)
    findings += [f"pack {pack.pack_id}: {name} is named {count} times" for name, count in names.items() if count > 1]
    num_rows = 0
    for table in sorted({segment.table for segment in manifest}):
        data = store.read(manifest, table)
        num_rows += data.num_rows
        if table in KEYS and (twice := _num_twice(data, KEYS[table])):
            findings.append(f"pack {pack.pack_id}: {twice} rows of {table} are there more than once")
        if table == "steps":
            findings += _steps_of_trials(data, trials)
    if not any(segment.table == "steps" for segment in manifest):
        findings += [f"trial {trial.trial_id}: done, and without a row of steps" for trial in trials]
    return num_rows


def _num_twice(data: pa.Table, keys: Sequence[str]) -> int:
    return data.num_rows - data.select(list(keys)).group_by(list(keys)).aggregate([]).num_rows


def _steps_of_trials(data: pa.Table, trials: Sequence[TrialRow]) -> Iterator[str]:
    """Rows 0, 1, 2, ... to where the trial ended, whose last loss is the one that the ledger has."""
    ids = np.asarray(data["trial_id"].cast(pa.string()))
    steps, losses = data["step"].to_numpy(), data["train_loss"].to_numpy()
    for trial in trials:
        mine = ids == trial.trial_id
        summary = trial.summary or {}
        order = np.argsort(steps[mine], kind="stable")
        own, last = steps[mine][order], losses[mine][order][-1:]
        # A trial that ended early, or on a function, has a row for the point where it ended.
        allowed = (summary["steps_completed"], summary["steps_completed"] + 1)
        if len(own) not in allowed or not np.array_equal(own, np.arange(len(own))):
            yield f"trial {trial.trial_id}: {len(own)} rows of steps, of {allowed[0]} steps"
        elif not np.array_equal(last, [summary["final"]["train_loss"]], equal_nan=True):
            yield f"trial {trial.trial_id}: its last loss is {last}, the ledger has {summary['final']['train_loss']}"
