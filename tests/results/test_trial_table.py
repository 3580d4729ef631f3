"""The table of trials: one row per ledger row, one column per swept path."""

import math
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from schemas.records import METRICS_FINAL
from schemas.study import parse_study
from schemas.trials import Outcome, TrialState
from tests.e2e.specs import digits
from workers.ledger.rows import TrialRow
from workers.records import arrow_schema
from workers.results.trial_table import trial_table

ROW = TrialRow(
    study_id="s",
    trial_id="t",
    attempt=1,
    is_newest=True,
    cell_id="c",
    round=0,
    num_index=0,
    workload="digits-mlp",
    optimizer="sgd",
    schedule="linear",
    peak_lr=0.1,
    seed={"initialization": 3, "data_order": 3, "noise": 3},
    steps=100,
    swept={},
    measurement_id="m",
    execution_id="e",
    state=TrialState.DONE,
    outcome=Outcome.TRAINED,
    reason="budget",
    summary={"final": {"validation_loss": 0.5}, "best": {"validation_loss": 0.4}, "warmup_steps": 10, "device": "cpu"},
    pack_id="p",
    slot=0,
    replanned=False,
    reused_from=None,
    started_at=None,
    finished_at=datetime.now(UTC),
)


@pytest.fixture(scope="module")
def study():
    return parse_study(digits(60))


def test_a_finished_trial_has_its_numbers(study) -> None:
    (row,) = trial_table(study, [ROW], {"t": 40}).to_pylist()
    assert (row["final_validation_loss"], row["best_validation_loss"], row["steps_to_target"]) == (0.5, 0.4, 40)
    assert (row["model"], row["dataset"], row["seed"], row["outcome"]) == ("mlp", "digits", "3", "trained")


def test_what_is_missing_is_nan_or_minus_one(study) -> None:
    waiting = replace(ROW, state=TrialState.QUEUED, outcome=None, summary=None, pack_id=None, slot=None)
    (row,) = trial_table(study, [waiting], {}).to_pylist()
    assert (row["steps_to_target"], row["warmup_steps"], row["slot"], row["pack_id"]) == (-1, -1, -1, "")
    assert all(math.isnan(row[f"final_{name}"]) for name in METRICS_FINAL)


def test_each_swept_path_is_a_column_of_numbers_or_else_of_text(study) -> None:
    rows = [
        replace(ROW, swept={"optimizer.weight_decay": 0, "schedule.decay": {"kind": "cosine"}, "flag": True}),
        replace(ROW, trial_id="u", swept={"optimizer.weight_decay": 0.1, "schedule.decay": "linear"}),
    ]
    table = trial_table(study, rows, {})
    assert table.column_names == [*arrow_schema("trials").names, "flag", "optimizer.weight_decay", "schedule.decay"]
    assert table["optimizer.weight_decay"].to_pylist() == [0.0, 0.1]
    assert table["schedule.decay"].to_pylist() == ['{"kind": "cosine"}', "linear"]
    assert table["flag"].to_pylist() == ["true", None]


def test_a_study_without_trials_has_an_empty_table(study) -> None:
    assert trial_table(study, [], {}).num_rows == 0


def test_a_multiple_stands_beside_the_rate_that_it_came_to() -> None:
    document = digits(60)
    document["optimizers"][0]["peak_lrs"] = {"values": [2.0], "relative_to": {"quantity": "sharpness"}}
    study = parse_study(document)
    done = replace(ROW, peak_lr=2.0, summary={**ROW.summary, "peak_lr": 0.25})
    waiting = replace(ROW, trial_id="u", peak_lr=2.0, state=TrialState.QUEUED, outcome=None, summary=None)
    first, second = trial_table(study, [done, waiting], {}).to_pylist()
    assert (first["peak_lr"], first["lr_multiple"]) == (0.25, 2.0)
    assert math.isnan(second["peak_lr"])
    assert second["lr_multiple"] == 2.0
