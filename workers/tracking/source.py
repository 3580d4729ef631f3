"""What is to be published of a study: read from the ledger and the records, acknowledged in the ledger."""

import json
import logging
import math
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa

from schemas.errors import CorruptRecord
from schemas.records import METRICS_BEST, METRICS_FINAL
from schemas.study import Study, parse_study
from schemas.trials import Seed, TrialState
from workers.ledger.ledger import Ledger
from workers.ledger.rows import PackRow, PublicationRow, TrialRow, UnpublishedRow
from workers.places import Places
from workers.records import Manifest, RecordStore, SegmentRef
from workers.tracking.curves import curve, stride
from workers.tracking.loop import PublishingState
from workers.tracking.names import EXECUTION_TAG
from workers.tracking.publications import (
    Acknowledgement,
    Artifact,
    MetricPoint,
    ParentPublication,
    StudyPublication,
    StudyRuns,
    TrialPublication,
    end_status,
)
from workers.tracking.rates import rate_name, rate_params

log = logging.getLogger("warmup_bench.tracking")

CURVE_POINTS = 40
"""Points per curve in the tracker; the whole curve is in the result folder."""
BATCH_TRIALS = 64
MAX_READS = 3
MAX_REASON = 300
"""Letters of why publishing is behind."""
LIVE_EVERY_S = 20.0
"""A trial that still trains is published at most this often."""
TRACKING_MAX_RUNS = 10_000
"""A study with more trials than this has one run per cell."""
CURVES = {
    "steps": ("train_loss", "lr", "gradient_norm"),
    "evaluations": ("train_eval_loss", "validation_loss", "validation_accuracy"),
}
ARTIFACTS = ("report.html", "report.json", "verdict.txt", "study.yaml", "trials.parquet")


class LedgerSource:
    """A `loop.Source` over one study. Sets `finished` once the study is final, so that the loop drains and returns."""

    def __init__(
        self,
        ledger: Ledger,
        study_id: str,
        places: Places,
        finished: threading.Event,
        *,
        max_runs: int = TRACKING_MAX_RUNS,
    ) -> None:
        self._ledger = ledger
        self._places = places
        self._store = RecordStore(places.records)
        self._finished = finished
        self._row = ledger.study(study_id)
        self._fence = self._row.attempt
        self._study: Study = parse_study(self._row.spec)
        self._epoch_ms = int(self._row.created_at.timestamp() * 1000)
        self._specs = {
            axis: {variant.name: variant.spec for variant in self._study.variants(axis)}
            for axis in ("workloads", "optimizers", "schedules")
        }
        self._by_cell = self._row.total > max_runs
        self._last_live = 0.0
        self._pending: dict[str, PublicationRow] = {}
        self._refused: set[str] = set()
        self._cells_left: dict[str, list[TrialRow]] = {}
        self._cells_seen: dict[str, int] = {}

    def study(self) -> StudyPublication:
        """The experiment and its parent run."""
        return StudyPublication(
            study_id=self._row.id,
            name=self._row.name,
            spec_json=json.dumps(self._row.spec, indent=2),
            epoch_ms=self._epoch_ms,
            tags={"warmup_bench.spec_hash": self._row.spec_hash},
        )

    def opened(self, runs: StudyRuns) -> None:
        """A parent run that is new means a new store: what was acknowledged went to another one."""
        if runs.created:
            self._ledger.forget_publications(self._row.id, self._fence)
            self._cells_left.clear()
            self._refused.clear()

    def next_batch(self) -> Sequence[TrialPublication | ParentPublication]:
        """Trials with durable records ahead of what was acknowledged, then the parent once the study is final."""
        # Read before the trials: whatever was final then is among them.
        row = self._ledger.study(self._row.id)
        batch = list(self._cells() if self._by_cell else self._trials())
        if not batch and row.state.is_final:
            batch = list(self._parent(row.state))
        if not batch and row.state.is_final:
            self._finished.set()
        return batch

    def acknowledge(self, acknowledgement: Acknowledgement) -> None:
        """Note in the ledger, under the fence, what the tracker holds."""
        row = self._pending.pop(acknowledgement.key)
        self._cells_left.pop(row.key, None)
        done = PublicationRow(row.key, acknowledgement.run_id, row.offset, acknowledgement.ended)
        self._ledger.record_publications(self._row.id, [done], self._fence)

    def everything_final(self) -> Iterator[TrialPublication]:
        """What is published of every trial that is final, or of every cell, whatever was published before."""
        if self._by_cell:
            cells: dict[str, list[TrialRow]] = {}
            for trial in self._ledger.trials(self._row.id):
                cells.setdefault(trial.cell_id, []).append(trial)
            for cell_id, trials in cells.items():
                if all(trial.state.is_final for trial in trials):
                    yield self._cell_publication(cell_id, trials)
            return
        final = (trial for trial in self._ledger.trials(self._row.id) if trial.state.is_final)
        while batch := list(islice(final, BATCH_TRIALS)):
            packs = {pack.pack_id: pack for pack in self._ledger.packs_by_id({trial.pack_id or "" for trial in batch})}
            rows = {
                trial.trial_id: UnpublishedRow(trial.trial_id, pack.pack_id, trial.slot or 0, pack.step, True, None, 0)
                for trial in batch
                if (pack := packs.get(trial.pack_id or ""))
                if pack.step > 0 or trial.state is not TrialState.CANCELLED
            }
            points = self._points(list(rows.values()))
            for trial in batch:
                if trial.trial_id in rows:
                    yield self._publication(rows[trial.trial_id], trial, points.get(trial.trial_id, []))

    @property
    def had_predecessor(self) -> bool:
        """Whether another driver, with a publisher of its own, had this study before."""
        return self._fence > 1

    def acknowledged(self) -> dict[str, str]:
        """Key -> run, of all that the tracker holds completely."""
        done = self._ledger.final_publications(self._row.id)
        return {self._key(row.key): row.run_id for row in done if row.key != self._row.id}

    def refuse(self, key: str, reason: str) -> None:
        """Leave it out of this process's batches; `sync` offers it again."""
        self._pending.pop(key, None)
        self._refused.add(key)

    def report(self, state: PublishingState, reason: str) -> None:
        """`publishing` of the study, and why it is behind."""
        publishing = "current" if state is PublishingState.CURRENT else "behind"
        if reason:
            log.warning("study %s: %s", self._row.id, _one_line(reason))
        self._ledger.set_publishing(self._row.id, publishing, reason=_one_line(reason))

    def _trials(self) -> Sequence[TrialPublication]:
        live = time.monotonic() - self._last_live >= LIVE_EVERY_S
        waiting = (
            row
            for row in self._ledger.unpublished(self._row.id)
            if (row.is_final or live) and self._key(row.trial_id) not in self._refused
        )
        rows = list(islice(waiting, BATCH_TRIALS))
        if live and len(rows) < BATCH_TRIALS:
            self._last_live = time.monotonic()
        if not rows:
            return []
        wanted = {row.trial_id for row in rows}
        trials = {trial.trial_id: trial for trial in self._ledger.trials_by_id(self._row.id, wanted)}
        points = self._points(rows)
        return [self._publication(row, trials[row.trial_id], points.get(row.trial_id, [])) for row in rows]

    def _publication(self, row: UnpublishedRow, trial: TrialRow, points: list[MetricPoint]) -> TrialPublication:
        key = self._key(row.trial_id)
        # The last row of a trial that ended early may lie off the stride: it was thinned away while the trial was not
        # known to have ended. So an end is published with all points again; those that are there are kept once.
        before = 0 if row.is_final else sum(point.step < row.offset for point in points)
        # One that was replanned is looked up: its run may hold points of before.
        known = None if row.run_id is None or trial.replanned else Acknowledgement(key, row.run_id, before)
        self._pending[key] = PublicationRow(row.trial_id, row.run_id or "", row.durable_steps, row.is_final)
        return TrialPublication(
            key=key,
            name=f"{trial.schedule} {trial.optimizer} {self._rate(trial)} seed={Seed(**trial.seed).label}",
            params=self._params(trial) | {"seed": Seed(**trial.seed).label},
            tags={
                "warmup_bench.trial_id": trial.trial_id,
                "warmup_bench.cell_id": trial.cell_id,
                "warmup_bench.outcome": str(trial.outcome or ""),
                EXECUTION_TAG: trial.execution_id or "",
            },
            points=points[before:] if known else points,
            headline=_headline(trial) if row.is_final else {},
            headline_step=row.durable_steps,
            epoch_ms=self._epoch_ms,
            start_time_ms=_ms(trial.started_at) or self._epoch_ms,
            end_time_ms=_ms(trial.finished_at),
            status=end_status(trial.state) if row.is_final else None,
            acknowledged=known,
        )

    def _points(self, rows: Sequence[UnpublishedRow]) -> dict[str, list[MetricPoint]]:
        """Trial id -> its thinned points, in the order of their steps: a longer stream begins with a shorter one."""
        for reads_left in reversed(range(MAX_READS)):
            packs = self._ledger.packs_by_id({row.pack_id for row in rows})
            try:
                return self._read_points(rows, packs)
            except CorruptRecord:
                # A pack that has ended meanwhile replaces its segments.
                now = {pack.pack_id: pack.manifest for pack in self._ledger.packs_by_id({row.pack_id for row in rows})}
                if not reads_left or now == {pack.pack_id: pack.manifest for pack in packs}:
                    raise
        raise AssertionError("the last read returns or raises")

    def _read_points(self, rows: Sequence[UnpublishedRow], packs: Sequence[PackRow]) -> dict[str, list[MetricPoint]]:
        in_order = sorted(packs, key=lambda pack: pack.pack_id)
        manifests = [tuple(SegmentRef(**segment) for segment in pack.manifest) for pack in in_order]
        durable = {row.trial_id: row.durable_steps for row in rows}
        final = {row.trial_id for row in rows if row.is_final}
        points: dict[str, list[MetricPoint]] = {trial_id: [] for trial_id in durable}
        every = _strides(rows, packs)
        for table, metrics in CURVES.items():
            data = self._store.read_many(manifests, table, trial_ids=durable)
            for trial_id, part in _by_trial(data):
                last = int(part["step"][-1]) if trial_id in final else None
                thinned = every[trial_id] if table == "steps" else 1
                for metric in metrics:
                    points[trial_id] += curve(
                        metric, part["step"], part[metric], epoch_ms=self._epoch_ms, every=thinned, last_step=last
                    )
        for trial_id, more in self._probe_points(manifests, durable).items():
            points[trial_id] += more
        for trial_id, stream in points.items():
            stream.sort(key=lambda point: (point.step, point.key))
            if trial_id not in final:
                points[trial_id] = [point for point in stream if point.step < durable[trial_id]]
        return points

    def _probe_points(self, manifests: Sequence[Manifest], wanted: Mapping[str, int]) -> dict[str, list[MetricPoint]]:
        points: dict[str, list[MetricPoint]] = {trial_id: [] for trial_id in wanted}
        data = self._store.read_many(
            manifests, "probes", trial_ids=wanted, columns=["trial_id", "step", "probe", "value"]
        )
        for trial_id, part in _by_trial(data):
            for probe in dict.fromkeys(part["probe"]):
                mine = part["probe"] == probe
                points[trial_id] += curve(str(probe), part["step"][mine], part["value"][mine], epoch_ms=self._epoch_ms)
        return points

    def _params(self, trial: TrialRow) -> dict[str, object]:
        schedule = self._specs["schedules"][trial.schedule]
        optimizer = self._specs["optimizers"][trial.optimizer]
        workload = self._specs["workloads"][trial.workload]
        steps = (trial.summary or {}).get("warmup_steps")
        return {
            "workload": trial.workload,
            "optimizer": trial.optimizer,
            "schedule": trial.schedule,
            "warmup_steps": steps,
            **rate_params(trial, self._study.multiples),
            **_leaves("workload", workload.model_dump(mode="json")),
            **_leaves("optimizer", optimizer.model_dump(mode="json")),
            **_leaves("schedule", schedule.model_dump(mode="json")),
        }

    def _rate(self, trial: TrialRow) -> str:
        return rate_name(trial, self._study.multiples)

    def _cells(self) -> Sequence[TrialPublication]:
        """One run per cell whose trials are all final: means over seeds, the curves stay in the result folder."""
        if not self._cells_left or self._ledger.counts(self._row.id) != self._cells_seen:
            self._cells_seen = self._ledger.counts(self._row.id)
            by_cell: dict[str, list[TrialRow]] = {}
            for trial in self._ledger.trials(self._row.id):
                by_cell.setdefault(trial.cell_id, []).append(trial)
            published = {row.key for row in self._ledger.final_publications(self._row.id)}
            self._cells_left = {
                cell_id: trials
                for cell_id, trials in by_cell.items()
                if cell_id not in published
                and self._key(cell_id) not in self._refused
                and all(trial.state.is_final for trial in trials)
            }
        ready = list(islice(self._cells_left.items(), BATCH_TRIALS))
        return [self._cell_publication(cell_id, trials) for cell_id, trials in ready]

    def _cell_publication(self, cell_id: str, trials: Sequence[TrialRow]) -> TrialPublication:
        first, key = trials[0], self._key(cell_id)
        self._pending[key] = PublicationRow(cell_id, "", 0, True)
        headlines = [_headline(trial) for trial in trials]
        means = {
            name: float(np.mean([headline.get(name, math.nan) for headline in headlines])) for name in headlines[0]
        }
        ended = [trial.finished_at for trial in trials if trial.finished_at is not None]
        return TrialPublication(
            key=key,
            name=f"{first.schedule} {first.optimizer} {self._rate(first)} ({len(trials)} seeds)",
            params=self._params(first),
            tags={"warmup_bench.cell_id": cell_id},
            # One point per seed: a cell that got more seeds has another number of points, so its run is not yet whole.
            points=[
                MetricPoint("num_seeds", float(number), number, self._epoch_ms + number)
                for number in range(1, len(trials) + 1)
            ],
            headline=means,
            headline_step=len(trials),
            epoch_ms=self._epoch_ms,
            end_time_ms=_ms(max(ended)) if ended else None,
            status=end_status(first.state),
        )

    def _parent(self, state: Any) -> Sequence[ParentPublication]:
        known = self._ledger.publication(self._row.id, self._row.id)
        if (known is not None and known.is_final) or self._row.id in self._refused:
            return []
        folder = self._places.study_folder(self._row.id)
        counts = self._ledger.counts(self._row.id)
        verdict = folder / "verdict.txt"
        self._pending[self._row.id] = PublicationRow(self._row.id, "", 0, True)
        row = self._ledger.study(self._row.id)
        return [
            ParentPublication(
                key=self._row.id,
                tags={"warmup_bench.spec_hash": row.spec_hash},
                artifacts=[Artifact(folder / name) for name in ARTIFACTS if (folder / name).is_file()],
                metrics={f"trials_{name}": float(count) for name, count in counts.items()},
                metrics_step=counts["done"],
                note=verdict.read_text(encoding="utf-8") if verdict.is_file() else "",
                epoch_ms=self._epoch_ms,
                end_time_ms=_ms(row.finished_at),
                status=end_status(state),
            )
        ]

    def _key(self, trial_or_cell: str) -> str:
        return f"{self._row.id}/{trial_or_cell}"


def _one_line(reason: str) -> str:
    """The first line of what a driver or a server said: the rest is statements, parameters and links to manuals."""
    lines = [line.strip() for line in reason.splitlines() if line.strip()]
    return lines[0][:MAX_REASON] if lines else ""


def _strides(rows: Sequence[UnpublishedRow], packs: Sequence[PackRow]) -> dict[str, int]:
    # From each pack's plan, never from what happens to be in a batch: a replay must thin to the same points.
    steps = {pack.pack_id: int(pack.plan["total_steps"]) for pack in packs}
    return {row.trial_id: stride(steps[row.pack_id], CURVE_POINTS) for row in rows}


def _by_trial(data: pa.Table) -> list[tuple[str, dict[str, np.ndarray]]]:
    """The rows of each trial, in the order of their steps."""
    if data.num_rows == 0:
        return []
    ids = data["trial_id"].combine_chunks()
    codes = ids.indices.to_numpy(zero_copy_only=False)
    columns = {name: data[name].to_numpy(zero_copy_only=False) for name in data.column_names if name != "trial_id"}
    order = np.lexsort((columns["step"], codes))
    firsts = np.flatnonzero(np.r_[True, np.diff(codes[order]) != 0])
    parts = np.split(order, firsts[1:])
    return [(ids.dictionary[int(codes[part[0]])].as_py(), {n: c[part] for n, c in columns.items()}) for part in parts]


def _leaves(path: str, node: Any) -> dict[str, object]:
    """`optimizer.momentum` -> 0.9 for all that a component says, lists as JSON; what it says is null is left out."""
    if isinstance(node, dict):
        found: dict[str, object] = {}
        for name, value in node.items():
            if name not in ("name", "peak_lrs"):
                found |= _leaves(f"{path}.{name}", value)
        return found
    if node is None:
        return {}
    return {path: json.dumps(node) if isinstance(node, list) else node}


def _headline(trial: TrialRow) -> dict[str, float]:
    summary = trial.summary or {}
    values = {f"final_{name}": summary.get("final", {}).get(name, math.nan) for name in METRICS_FINAL}
    values |= {f"best_{name}": summary.get("best", {}).get(name, math.nan) for name in METRICS_BEST}
    values |= {name: summary[name] for name in ("steps_completed", "gradients", "hvps") if name in summary}
    return {name: float(value) for name, value in values.items() if not math.isnan(value)}


def _ms(at: Any) -> int | None:
    return None if at is None else int(at.timestamp() * 1000)
