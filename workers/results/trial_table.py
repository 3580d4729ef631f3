"""The table `trials`: one row per trial, from its ledger row."""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from schemas.plugins import kind_name
from schemas.records import METRICS_BEST, METRICS_FINAL
from schemas.schedules import ClosedLoopWarmup
from schemas.study import Study
from schemas.trials import Seed
from schemas.workloads import Analytic
from workers.ledger.rows import TrialRow
from workers.records import arrow_schema

MISSING_COUNT = -1


def trial_table(study: Study, rows: Iterable[TrialRow], steps_to_target: Mapping[str, int]) -> pa.Table:
    """All columns of schemas.records.TRIALS, and one per swept path (numbers where all values are, else text)."""
    workloads = {variant.name: variant.spec for variant in study.variants("workloads")}
    trials = list(rows)
    warmups = {variant.name: variant.spec.warmup for variant in study.variants("schedules")}
    multiples = study.multiples
    records = [
        _row(
            row,
            workloads[row.workload],
            warmups[row.schedule],
            steps_to_target,
            is_multiple=(row.optimizer, row.schedule) in multiples,
        )
        for row in trials
    ]
    schema = arrow_schema("trials")
    table = pa.table(
        {field.name: pa.array([record[field.name] for record in records], field.type) for field in schema}, schema
    )
    for path in sorted({path for row in trials for path in row.swept}):
        table = table.append_column(path, _swept_column([row.swept.get(path) for row in trials]))
    return table


def _row(
    row: TrialRow, workload: Any, schedule: Any, steps_to_target: Mapping[str, int], *, is_multiple: bool
) -> dict[str, Any]:
    summary: Mapping[str, Any] = row.summary or {}
    final, best = summary.get("final", {}), summary.get("best", {})
    analytic = isinstance(workload, Analytic)
    return {
        "trial_id": row.trial_id,
        "cell_id": row.cell_id,
        "workload": row.workload,
        "model": workload.function.kind if analytic else kind_name(workload.model),
        "dataset": "" if analytic else kind_name(workload.dataset),
        "optimizer": row.optimizer,
        "schedule": row.schedule,
        # the rate of a multiple is known once the trial has been measured
        "peak_lr": _resolved_rate(summary) if is_multiple else row.peak_lr,
        "lr_multiple": row.peak_lr if is_multiple else math.nan,
        "warmup_steps": _count(summary.get("warmup_steps")),
        "seed": Seed.model_validate(row.seed).label,
        "state": str(row.state),
        "outcome": str(row.outcome or ""),
        "outcome_step": _count(summary.get("outcome_step")),
        "reason": row.reason,
        "steps_completed": summary.get("steps_completed", 0),
        "start_loss": summary.get("start_loss", math.nan),
        "reference_loss": summary.get("reference_loss", math.nan),
        **{f"final_{name}": final.get(name, math.nan) for name in METRICS_FINAL},
        **{f"best_{name}": best.get(name, math.nan) for name in METRICS_BEST},
        "max_loss": summary.get("max_loss", math.nan),
        "max_lr_applied": summary.get("max_lr_applied", math.nan),
        "steps_to_target": steps_to_target.get(row.trial_id, MISSING_COUNT),
        "gradients": summary.get("gradients", 0.0),
        "hvps": summary.get("hvps", 0),
        "forward_passes": summary.get("forward_passes", 0),
        "schedule_knew": ", ".join(schedule.knowledge) if isinstance(schedule, ClosedLoopWarmup) else "",
        "pack_id": row.pack_id or "",
        "slot": _count(row.slot),
        "device": summary.get("device", ""),
    }


def _resolved_rate(summary: Mapping[str, Any]) -> float:
    rate = summary.get("peak_lr")
    return math.nan if rate is None else float(rate)


def _count(value: int | None) -> int:
    return MISSING_COUNT if value is None else value


def _swept_column(values: list[Any]) -> pa.Array:
    said = [value for value in values if value is not None]
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in said):
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    texts = [None if v is None else v if isinstance(v, str) else json.dumps(v, sort_keys=True) for v in values]
    return pa.array(texts, pa.string())
