"""Writes a study's result folder: every table, the resolved spec, the report. Works on a half-done study too."""

import io
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from ruamel.yaml import YAML

from schemas.errors import CorruptRecord, PlaceError
from schemas.records import PACK_TABLES
from schemas.study import Study, parse_study
from schemas.workloads import Analytic
from workers.analysis import StudyReport, analyse, steps_to_target, write_report
from workers.ledger.ledger import Ledger
from workers.ledger.rows import TrialRow
from workers.places import Places
from workers.records import RecordStore, SegmentRef, read_result_table, write_result_table
from workers.results.event_table import add_found_events
from workers.results.folder import SPEC_FILE, claim_folder, mark
from workers.results.trial_table import trial_table

MAX_READS = 3
"""How often manifests are read anew when a segment is gone: a pack that ends meanwhile replaces its segments."""


def write_results(ledger: Ledger, study_id: str, places: Places, folder: Path) -> StudyReport:
    """Write (again) everything that a study's folder holds.

    Raises:
        PlaceError: the folder holds another study, or cannot be written.
        CorruptRecord: a record file is not what its manifest says.
    """
    claim_folder(folder, study_id)
    spec = ledger.study(study_id).spec
    _write_text(folder / SPEC_FILE, mark(study_id) + as_yaml(spec))
    write_tables(ledger, study_id, places, folder)
    add_found_events(folder, spec)
    report = analyse(folder, spec)
    write_report(report, folder)
    return report


def write_tables(ledger: Ledger, study_id: str, places: Places, folder: Path) -> None:
    """Write a study's Parquet tables alone. Errors as for `write_results`."""
    study = parse_study(ledger.study(study_id).spec)
    trials = list(ledger.trials(study_id))
    _write_pack_tables(ledger, study_id, RecordStore(places.records), trials, folder)
    reached = _steps_to_target(folder, study, trials)
    write_result_table(folder, "trials", trial_table(study, trials, reached))


def _write_pack_tables(ledger: Ledger, study_id: str, store: RecordStore, trials: list[TrialRow], folder: Path) -> None:
    # A pack taken over from another study holds trials that are not of this one.
    wanted = {trial.trial_id for trial in trials} if any(trial.reused_from for trial in trials) else None
    for reads_left in reversed(range(MAX_READS)):
        found = ledger.manifests(study_id)
        try:
            for table in PACK_TABLES:
                parts = store.iter_many(_in_trial_order(found, trials), table, trial_ids=wanted)
                write_result_table(folder, table, _parts(parts))
            return
        except CorruptRecord:
            if not reads_left or ledger.manifests(study_id) == found:
                raise


def _in_trial_order(
    manifests: Mapping[str, Iterable[Mapping[str, Any]]], trials: list[TrialRow]
) -> list[tuple[SegmentRef, ...]]:
    """By each pack's first trial, so that the same study gives the same files in any home."""
    pack_ids = dict.fromkeys(trial.pack_id for trial in trials if trial.pack_id in manifests)
    return [tuple(SegmentRef(**segment) for segment in manifests[pack_id]) for pack_id in pack_ids if pack_id]


def _write_text(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.partial")
    try:
        temporary.write_text(text, encoding="utf-8", newline="\n")
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise PlaceError(
            f"{path.parent}: {error.strerror or error}; free some space, or name another folder"
        ) from error


def as_yaml(document: Mapping[str, Any]) -> str:
    """A document as YAML 1.2 block text."""
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    stream = io.StringIO()
    writer.dump(dict(document), stream)
    return stream.getvalue()


def _parts(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    for table in tables:
        yield table.combine_chunks()


def _steps_to_target(folder: Path, study: Study, trials: list[TrialRow]) -> dict[str, int]:
    analysis = study.fields.analysis
    if analysis.target is None:
        return {}
    analytic = {variant.name for variant in study.variants("workloads") if isinstance(variant.spec, Analytic)}
    metric_of = {trial.workload: "train_loss" if trial.workload in analytic else analysis.metric for trial in trials}
    reached: dict[str, int] = {}
    for metric in sorted(set(metric_of.values())):
        table = "steps" if metric == "train_loss" else "evaluations"
        if metric.startswith("test_"):
            continue  # measured at the end alone
        rows = read_result_table(folder, table, ["trial_id", "step", metric]).to_pandas()
        found = steps_to_target(rows, metric, analysis.target)
        mine = {trial.trial_id for trial in trials if metric_of[trial.workload] == metric}
        reached |= {trial_id: int(step) for trial_id, step in found.items() if trial_id in mine}
    return reached
