"""What a study's end looks like on a terminal."""

import io
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from service.cli.answer import mlflow_command, read_answer, show_answer, show_mlflow
from service.cli.options import human_bytes, human_seconds, print_json
from workers.places import Places

ROW = {
    "workload": "digits",
    "optimizer": "sgd",
    "schedule": "linear-20",
    "peak_lr": 0.1,
    "metric": "validation_loss",
    "mean": 0.25,
    "sd": 0.01,
    "n": 3,
    "trained": 3,
    "num_trials": 3,
    "verdict": "wins",
    "difference": -0.05,
    "low": -0.06,
    "high": -0.04,
    "largest_usable_peak_lr": 0.3,
    "largest_usable": "0.3",
}
ANSWER = {
    "verdict": "warmup wins\n",
    "ranking": [ROW, ROW | {"schedule": "none", "verdict": "baseline", "difference": None, "sd": "NaN"}],
    "reason": "",
    "state": "done",
    "report": "/a/very long/folder name/with spaces/" + "x" * 120 + "/report.html",
    "mlflow_ui": "mlflow ui --backend-store-uri sqlite:////x",
    "publishing": "current",
    "publishing_reason": "",
    "sync": "warmup-bench sync 01234567 --home /x",
}


def shown(**changes: object) -> str:
    stream = io.StringIO()
    show_answer(ANSWER | changes, stream)
    assert "MLflow" not in stream.getvalue(), "the answer waits for no tracker"
    show_mlflow(ANSWER | changes, stream)
    return stream.getvalue()


def test_why_trials_are_errored_is_told_once_with_the_command_that_says_more(tmp_path: Path) -> None:
    trials = [
        SimpleNamespace(trial_id=f"{number:064x}", reason=f"model net raised ValueError: {number % 4}")
        for number in range(9)
    ]
    ledger: Any = SimpleNamespace(
        study=lambda _: SimpleNamespace(state="done", reason="", publishing="current", total=9),
        counts=lambda _: {"errored": 9},
        trials_page=lambda _study, limit, *, state: (trials[:limit], None),
    )
    places = Places.resolve(home=str(tmp_path), tracking_uri="none", environment={})
    row: Any = SimpleNamespace(id="0123456789abcdef", name="small")
    told = read_answer(ledger, row, tmp_path / "none", places)["errored"]
    assert [one["reason"][-1] for one in told] == ["0", "1", "2"]
    command = f"warmup-bench logs 01234567 --trial {trials[1].trial_id[:8]} --home {tmp_path}"
    assert (told[1]["trial_id"], told[1]["logs"]) == (trials[1].trial_id, command)
    assert f"errored  {told[1]['reason']}\n         {command} shows more\n" in shown(errored=told)
    ledger.counts = lambda _: {"errored": 0}
    assert read_answer(ledger, row, tmp_path / "none", places)["errored"] == []


def test_the_end_has_verdict_ranking_report_and_the_line_for_mlflow() -> None:
    text = shown()
    assert "warmup wins" in text
    assert "-0.050 [-0.060, -0.040]" in text
    assert text.index("linear-20") < text.index("none")
    assert "MLflow   mlflow ui --backend-store-uri sqlite:////x" in text
    assert "behind" not in text


def test_verdict_and_ranking_read_well_in_80_columns() -> None:
    long = "- " + "a rather long sentence about it " * 9
    row = ROW | {"verdict": "cannot be told", "difference": -0.00238, "low": -0.0107, "high": 0.00595, "sd": 0.00804}
    row |= {"mean": 0.0766312, "peak_lr": 0.00948683, "largest_usable": ">= 0.0949"}
    text = shown(verdict=f"{long}\n", ranking=[row, row | {"schedule": "linear warmup.steps=20"}], report="r")
    lines = [line for line in text.splitlines() if "MLflow" not in line]
    assert max(map(len, lines)) <= 80
    assert sum(line.startswith("  ") for line in lines) >= 3
    ranked = next(line for line in lines if line.startswith(" linear-20"))
    assert ranked.split() == ["linear-20", "0.00949", "0.0766", "0.008", "3/3", "cannot", "be", "told", "≥0.0949"]
    assert "-0.0024 " in text
    assert "[-0.0107, 0.0060]" in text
    assert " warmup.steps=20 " in text


def test_small_differences_take_no_room_from_names_and_rates() -> None:
    row = ROW | {"schedule": "linear warmup.steps=1024", "verdict": "cannot be told", "peak_lr_unit": "1/sharpness"}
    row |= {"difference": 1.0013e-5, "low": -3.2078e-5, "high": 5.2104e-5, "mean": 0.00137, "sd": 0.0019}
    text = shown(ranking=[row | {"num_trials": 20, "trained": 20, "largest_usable": ">= 20"}])
    lines = text.splitlines()
    assert max(len(line) for line in lines if "report" not in line and "MLflow" not in line) <= 80
    assert next(line for line in lines if line.startswith(" schedule")).rstrip().endswith("usable")
    first = next(line for line in lines if line.startswith(" linear"))
    assert first.rstrip().endswith("≥20")
    assert "warmup.steps=1024" in text
    assert "0.000052]" in text


def test_a_long_path_stays_on_one_line() -> None:
    assert f"report   {ANSWER['report']}\n" in shown()


def test_what_is_behind_is_said_with_the_command_that_catches_up() -> None:
    assert "is behind; warmup-bench sync 01234567 --home /x catches up" in shown(publishing="behind")
    text = shown(publishing="behind", publishing_reason="no answer")
    assert "is behind (no answer); warmup-bench sync 01234567 --home /x catches up" in text


def test_a_study_that_failed_says_why() -> None:
    assert "errored: the disk is full" in shown(state="errored", reason="the disk is full", report=None, ranking=[])


def test_a_path_with_spaces_is_quoted_in_the_line_for_mlflow(tmp_path: Path) -> None:
    places = Places.resolve(home=str(tmp_path / "my home"), environment={})
    assert f"'sqlite:///{tmp_path / 'my home' / 'mlflow.sqlite'}'" in str(mlflow_command(places))
    assert mlflow_command(Places.resolve(home=str(tmp_path), tracking_uri="none", environment={})) is None


def test_json_has_no_number_that_json_does_not_have(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": [math.nan, math.inf, -math.inf, 1.5]})
    assert capsys.readouterr().out.split() == [
        "{",
        '"a":',
        "[",
        '"NaN",',
        '"Infinity",',
        '"-Infinity",',
        "1.5",
        "]",
        "}",
    ]


@pytest.mark.parametrize(("seconds", "text"), [(4.2, "4 s"), (80, "1 min 20 s"), (7500, "2 h 5 min")])
def test_times_are_said_in_words(seconds: float, text: str) -> None:
    assert human_seconds(seconds) == text


@pytest.mark.parametrize(("count", "text"), [(12, "12 B"), (1500, "1.5 kB"), (3.2e9, "3.2 GB")])
def test_bytes_are_said_in_words(count: float, text: str) -> None:
    assert human_bytes(count) == text


def test_a_long_unit_of_the_rates_leaves_the_schedules_their_names() -> None:
    row = ROW | {"verdict": "cannot be told", "peak_lr_unit": "1/preconditioned sharpness", "mean": 0.000637}
    text = shown(ranking=[row, row | {"schedule": "linear warmup.steps=16"}], report="r")
    assert "linear-20" in text
    assert "final validation_loss; peak LR x 1/preconditioned sharpness" in text
    assert "…" not in text
