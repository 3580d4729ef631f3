"""One command takes a study from its file to an answer, through every room; the bits do not hang on the workers."""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.e2e.commands import (
    as_file,
    command,
    environment,
    events_of,
    only_study,
    processes_of,
    table_bytes,
)
from tests.e2e.conftest import Ran
from tests.e2e.specs import digits
from workers.ledger.ledger import Ledger
from workers.ledger.rows import EventKind
from workers.results.report_version import marked_version, report_version

pytestmark = pytest.mark.slow

FILES = {"study.yaml", "report.html", "report.json", "verdict.txt"} | {
    f"{table}.parquet" for table in ("trials", "steps", "evaluations", "probes", "events", "timings")
}


def test_cosh_wall_reads_9_46_and_194_steps(cosh: Ran) -> None:
    assert cosh.ended.status == 0, cosh.ended.err
    trials = pq.read_table(cosh.out / "trials.parquet", columns=["schedule", "steps_to_target"]).to_pylist()
    read = {trial["schedule"]: trial["steps_to_target"] for trial in trials}
    assert read == {"descent": 9, "liu": 46, "alimisis": 194}


def test_a_study_runs_from_inside_a_folder_with_packages_of_our_names(cosh: Ran) -> None:
    assert (cosh.cwd / "schemas" / "__init__.py").exists()
    assert cosh.ended.status == 0, cosh.ended.err


def test_stdout_carries_the_answer_alone_and_stderr_the_progress(cosh: Ran) -> None:
    assert cosh.ended.err.startswith("warmup-bench: here, home ")
    for line in ("3 trials", "starting Ray", "writing tables and report", "publishing to MLflow"):
        assert line in cosh.ended.err
        assert line not in cosh.ended.out.replace("all 3 trials done", "").replace("3 trials done", "")
    assert "all 3 trials done" in cosh.ended.out
    assert "schedule" in cosh.ended.out
    assert f"report   {cosh.out / 'report.html'}" in cosh.ended.out
    assert "mlflow ui --backend-store-uri" in cosh.ended.out


def test_the_result_folder_holds_what_the_contract_lists(one_worker: Ran) -> None:
    assert one_worker.ended.status == 0, one_worker.ended.err
    assert {path.name for path in one_worker.out.iterdir()} == FILES


def test_the_report_that_is_kept_is_marked_as_that_of_the_study_s_end(one_worker: Ran) -> None:
    study = only_study(one_worker.home)
    assert marked_version(one_worker.home / "studies" / study.id) == report_version(study)


def test_progress_is_no_flood_where_there_is_no_terminal(one_worker: Ran) -> None:
    assert len(one_worker.ended.err.splitlines()) < 15


@pytest.mark.proof
def test_one_worker_and_two_give_the_same_bytes(one_worker: Ran, two_workers: Ran) -> None:
    assert two_workers.ended.status == 0, two_workers.ended.err
    assert table_bytes(one_worker.out) == table_bytes(two_workers.out)
    columns = [
        name
        for name in pq.read_schema(one_worker.out / "trials.parquet").names
        if name != "pack_id"  # it names its study
    ]
    first, second = (pq.read_table(ran.out / "trials.parquet", columns=columns) for ran in (one_worker, two_workers))
    assert first.to_pandas().equals(second.to_pandas())


def test_a_trainer_has_one_thread_whatever_the_environment_asks_for(one_worker: Ran) -> None:
    with Ledger.open(one_worker.home, create=False) as ledger:
        packs = ledger.packs(only_study(one_worker.home).id)
    assert {pack.plan["facts"]["intra_op_threads"] for pack in packs} == {1}


@pytest.mark.proof
def test_json_output_is_one_strict_document(two_workers: Ran) -> None:
    answer = json.loads(two_workers.ended.out, parse_constant=lambda word: pytest.fail(word))
    assert answer["state"] == "done"
    assert answer["counts"]["done"] == answer["total"] == 16
    assert answer["report"] == str(two_workers.out / "report.html")
    assert {row["schedule"] for row in answer["ranking"]} == {"none", "linear"}
    assert answer["mlflow_ui"] is None


def test_records_lie_where_a_relative_path_says(one_worker: Ran) -> None:
    assert list((one_worker.cwd / "records of mine" / "packs").iterdir())
    assert not (one_worker.home / "records").exists()


def test_no_process_and_no_ray_folder_outlives_a_run(one_worker: Ran, cosh: Ran) -> None:
    for ran in (one_worker, cosh):
        assert processes_of(only_study(ran.home).id) == {}


def test_events_are_gapless_and_every_trial_ends_once(one_worker: Ran) -> None:
    events = events_of(one_worker.home)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    ended = [event.payload["trial_id"] for event in events if event.kind is EventKind.TRIAL_DONE]
    assert len(ended) == len(set(ended)) == 16


def test_running_a_finished_study_again_trains_nothing(one_worker: Ran) -> None:
    before = events_of(one_worker.home)
    flags = ("--home", "home", "--out", "out", "--records", "records of mine")
    again = command("run", one_worker.spec.name, *flags, cwd=one_worker.cwd)
    assert again.status == 0, again.err
    assert "all 16 trials were done before" in again.err
    assert events_of(one_worker.home) == before


def _mlflow(store: Path) -> tuple[list[tuple[str, str]], list[tuple[str, str, int, float]], int]:
    """(run name, status) of all runs; (run, key, step, value) of all points; number of experiments of ours."""
    with closing(sqlite3.connect(store)) as connection:
        runs = connection.execute("select name, status from runs order by name").fetchall()
        points = connection.execute(
            "select r.name, m.key, m.step, m.value from metrics m join runs r using (run_uuid) order by 1, 2, 3"
        ).fetchall()
        (experiments,) = connection.execute("select count(*) from experiments where name <> 'Default'").fetchone()
    return runs, points, experiments


def test_mlflow_has_a_parent_run_and_one_run_per_trial_with_thinned_curves(one_worker: Ran) -> None:
    runs, points, experiments = _mlflow(one_worker.home / "mlflow.sqlite")
    assert experiments == 1
    assert len(runs) == 16 + 1
    assert {status for _, status in runs} == {"FINISHED"}
    of_one = [key for name, key, _, _ in points if name == "linear adamw lr=0.001 seed=0"]
    assert {"train_loss", "lr", "validation_loss", "secant_smoothness", "sharpness"} <= set(of_one)
    assert 10 <= of_one.count("train_loss") <= 60
    assert only_study(one_worker.home).publishing == "current"


@pytest.mark.proof
def test_publishing_again_adds_nothing_and_publishing_anew_gives_the_same(one_worker: Ran) -> None:
    store = one_worker.home / "mlflow.sqlite"
    before = _mlflow(store)
    flags = ("--home", "home", "--records", "records of mine", "--json")
    again = command("sync", *flags, cwd=one_worker.cwd)
    assert again.status == 0, again.err
    assert [result["publishing"] for result in json.loads(again.out)] == ["current"]
    assert _mlflow(store) == before
    for file in one_worker.home.glob("mlflow.sqlite*"):
        file.unlink()
    anew = command("sync", *flags, cwd=one_worker.cwd)
    assert anew.status == 0, anew.err
    assert _mlflow(store) == before


def test_report_writes_the_folder_again_byte_for_byte(one_worker: Ran) -> None:
    study = only_study(one_worker.home).id
    flags = ("--home", "home", "--records", "records of mine", "--out", "again")
    written = command("report", study[:6], *flags, cwd=one_worker.cwd)
    assert written.status == 0, written.err
    first, second = (
        {path.name: path.read_bytes() for path in (one_worker.cwd / at).iterdir()} for at in ("out", "again")
    )
    assert first == second


def test_list_and_show_say_where_a_study_stands(one_worker: Ran) -> None:
    study = only_study(one_worker.home)
    listed = json.loads(command("list", "--home", "home", "--json", cwd=one_worker.cwd).out)
    assert [(item["id"], item["done"], item["total"]) for item in listed["items"]] == [(study.id, 16, 16)]
    shown = json.loads(command("show", study.id[:4], "--home", "home", "--json", cwd=one_worker.cwd).out)
    assert (shown["state"], shown["counts"]["done"], shown["spec"]["name"]) == ("done", 16, "small")


@pytest.mark.proof
def test_growing_a_study_by_seeds_trains_the_new_ones_alone(one_worker: Ran) -> None:
    grown = as_file(digits(60, num_seeds=3), one_worker.cwd / "grown.yaml")
    flags = ("--home", "home", "--out", "grown", "--records", "records of mine", "--tracking-uri", "none", "--json")
    ran = command("run", grown.name, *flags, cwd=one_worker.cwd)
    assert ran.status == 0, ran.err
    answer = json.loads(ran.out)
    with Ledger.open(one_worker.home, create=False) as ledger:
        trials = list(ledger.trials(answer["id"]))
    assert sum(trial.reused_from is not None for trial in trials) == 16
    assert {trial.seed["initialization"] for trial in trials if trial.reused_from is None} == {2}
    old = pq.read_table(one_worker.out / "steps.parquet").to_pandas()
    new = pq.read_table(one_worker.cwd / "grown" / "steps.parquet").to_pandas()
    assert len(new) == len(old) * 3 // 2
    kept = new[new["trial_id"].isin(set(old["trial_id"]))]
    by = ["trial_id", "step"]
    for table in (kept, old):
        table["trial_id"] = table["trial_id"].astype(str)
    assert kept.sort_values(by).reset_index(drop=True).equals(old.sort_values(by).reset_index(drop=True))


def test_a_notebook_in_a_hostile_folder_loads_the_results(cosh: Ran) -> None:
    code = "import warmup_bench as wb, sys; print(len(wb.load(sys.argv[1]).trials))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(cosh.out)],
        cwd=cosh.cwd,
        env=environment(PYTHONPATH=str(cosh.cwd)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "3", done.stderr
