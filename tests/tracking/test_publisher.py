"""One run for each key, whatever is sent twice, lost, cut off or infinite."""

import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from schemas.trials import TrialState
from workers.tracking.memory_tracker import MemoryTracker
from workers.tracking.mlflow_tracker import MlflowTracker
from workers.tracking.names import KEY_TAG, PARENT_TAG
from workers.tracking.port import TrackerUnavailable
from workers.tracking.publications import (
    Acknowledgement,
    Artifact,
    EndStatus,
    MetricPoint,
    ParentPublication,
    StudyPublication,
    TrialPublication,
    end_status,
)
from workers.tracking.publisher import Publisher

pytestmark = pytest.mark.slow

EPOCH_MS = 1_700_000_000_000
STUDY = StudyPublication(
    study_id="0123456789abcdef", name="warm", spec_json='{"name": "warm"}', epoch_ms=EPOCH_MS, tags={"owner": "ана"}
)


def points(first, last, key="train_loss"):
    return [MetricPoint(key, 1 / (step + 1), step, EPOCH_MS + step) for step in range(first, last)]


def trial(number=0, **changes):
    whole = TrialPublication(
        key=f"{STUDY.study_id}/{number:064x}",
        name=f"linear lr=0.1 seed={number}",
        params={"schedule": "linear", "warmup_steps": 10, "peak_lr": 0.1, "seed": str(number)},
        tags={"warmup_bench.trial_id": f"{number:064x}"},
        points=points(0, 20),
        headline={"final_train_loss": 0.05, "final_test_accuracy": math.nan},
        headline_step=20,
        epoch_ms=EPOCH_MS,
        status=EndStatus.FINISHED,
    )
    return replace(whole, **changes)


@pytest.fixture
def publisher(tracker):
    publisher = Publisher(tracker)
    publisher.ensure_study(STUDY)
    return publisher


def restarted(tracker):
    publisher = Publisher(tracker)
    runs = publisher.ensure_study(STUDY)
    return publisher, runs


def test_a_study_is_one_experiment_with_one_parent_run(tracker, reader):
    first = Publisher(tracker).ensure_study(STUDY)
    second = Publisher(tracker).ensure_study(STUDY)
    assert (first.experiment_name, first.created, second.created) == ("warm-01234567", True, False)
    assert first.parent_run_id == second.parent_run_id
    parent = reader.run(first.parent_run_id)
    assert (parent.tags["owner"], parent.tags[KEY_TAG], parent.artifacts) == ("ана", STUDY.study_id, {"study.json"})


def test_a_name_that_another_study_has_is_lengthened(tracker):
    twin = replace(STUDY, study_id=STUDY.study_id[:8] + "-another")
    assert Publisher(tracker).ensure_study(STUDY).experiment_name == "warm-01234567"
    assert Publisher(tracker).ensure_study(twin).experiment_name == "warm-01234567-another"


def test_a_trial_becomes_a_child_run_that_can_be_compared(tracker, publisher, reader):
    acknowledgement = publisher.publish_trial(trial())
    run = reader.run(acknowledgement.run_id)
    _, runs = restarted(tracker)
    assert (run.status, run.name, acknowledgement.num_points, acknowledgement.ended) == (
        "FINISHED", "linear lr=0.1 seed=0", 20, True,
    )  # fmt: skip
    assert run.params == {"schedule": "linear", "warmup_steps": "10", "peak_lr": "0.1", "seed": "0"}
    assert run.tags[PARENT_TAG] == runs.parent_run_id
    assert [point for point in run.points if point[0] == "train_loss"] == [
        (key, step, time, repr(value)) for key, value, step, time in points(0, 20)
    ]
    assert ("final_train_loss", 20, EPOCH_MS + 20, "0.05") in run.points
    assert ("final_test_accuracy", 20, EPOCH_MS + 20, "nan") in run.points


def test_replay_after_a_lost_acknowledgement_adds_no_run_and_no_point(tracker, publisher, reader):
    first = publisher.publish_trial(trial())
    before = reader.run(first.run_id)
    same_process = publisher.publish_trial(trial())
    after_restart, runs = restarted(tracker)
    assert same_process == first == after_restart.publish_trial(trial())
    assert reader.run(first.run_id) == before
    assert len(tracker.find_runs(runs.experiment_id)) == 2


def test_replay_of_a_run_cut_off_in_the_middle_completes_it(tracker, publisher, reader):
    cut = publisher.publish_trial(trial(points=points(0, 7), status=None))
    after_restart, _ = restarted(tracker)
    whole = after_restart.publish_trial(trial())
    run = reader.run(whole.run_id)
    assert (whole.run_id, run.status, len(run.points)) == (cut.run_id, "FINISHED", 22)


def test_a_stream_published_in_parts_is_the_stream(publisher, reader):
    acknowledged = None
    for first, last in ((0, 5), (5, 9), (9, 20)):
        status = EndStatus.FINISHED if last == 20 else None
        part = trial(points=points(first, last), status=status, acknowledged=acknowledged)
        acknowledged = publisher.publish_trial(part)
    assert (acknowledged.num_points, acknowledged.ended) == (20, True)
    assert len(reader.run(acknowledged.run_id).points) == 22


def test_a_parameter_that_is_not_known_yet_can_be_filled_in(publisher, reader):
    running = publisher.publish_trial(
        trial(status=None, params={"warmup_steps": "", "seed": None}, points=points(0, 5))
    )
    ended = publisher.publish_trial(trial(points=points(5, 20), acknowledged=running))
    assert reader.run(ended.run_id).params["warmup_steps"] == "10"


def test_what_is_acknowledged_costs_no_call():
    tracker = MemoryTracker()
    publisher = Publisher(tracker)
    publisher.ensure_study(STUDY)
    ended = publisher.publish_trial(trial())
    going_on = publisher.publish_trial(trial(1, status=None))
    before = tracker.num_calls
    assert publisher.publish_trial(trial(acknowledged=ended)) == ended
    assert publisher.publish_trial(trial(1, status=None, points=(), acknowledged=going_on)) == going_on
    assert tracker.num_calls == before


def test_a_whole_trial_costs_three_calls():
    tracker = MemoryTracker()
    publisher = Publisher(tracker)
    publisher.ensure_study(STUDY)
    before = tracker.num_calls
    publisher.publish_trial(trial())
    assert tracker.num_calls - before == 3


def test_after_a_restart_all_runs_are_found_by_one_search():
    tracker = MemoryTracker()
    publisher = Publisher(tracker)
    publisher.ensure_study(STUDY)
    for number in range(30):
        publisher.publish_trial(trial(number))
    after_restart, _ = restarted(tracker)
    before = tracker.num_calls
    for number in range(30):
        after_restart.publish_trial(trial(number))
    assert tracker.num_calls - before == 1


class LosesAnswers(MemoryTracker):
    """Creates the run, but the answer never arrives."""

    loses = True

    def create_run(self, *args, **kwargs):
        run_id = super().create_run(*args, **kwargs)
        if self.loses:
            raise TrackerUnavailable("timeout")
        return run_id


def test_a_run_whose_creation_got_no_answer_is_found_by_the_retry():
    tracker = LosesAnswers()
    publisher = Publisher(tracker)
    with pytest.raises(TrackerUnavailable):
        publisher.ensure_study(STUDY)
    runs = publisher.ensure_study(STUDY)
    with pytest.raises(TrackerUnavailable):
        publisher.publish_trial(trial())
    publisher.publish_trial(trial())
    assert (runs.created, len(tracker.find_runs(runs.experiment_id))) == (True, 2)


def test_infinite_values_are_left_out_and_said(publisher, reader):
    stream = [*points(0, 2), MetricPoint("train_loss", math.inf, 2, EPOCH_MS + 2)]
    stream.append(MetricPoint("train_loss", math.nan, 3, EPOCH_MS + 3))
    acknowledgement = publisher.publish_trial(trial(points=stream, headline={"final_train_loss": -math.inf}))
    run = reader.run(acknowledgement.run_id)
    assert [(step, value) for _, step, _, value in run.points] == [(0, "1.0"), (1, "0.5"), (3, "nan")]
    assert run.tags["warmup_bench.infinite.train_loss"] == "inf left out"
    assert run.tags["warmup_bench.infinite.final_train_loss"] == "-inf left out"
    assert acknowledgement.num_points == 4


@pytest.mark.parametrize("count", [999, 1_000, 1_001])
def test_every_point_and_parameter_arrives_at_the_limits_of_a_batch(publisher, reader, count):
    params = {f"swept.{number}": number for number in range(count // 10 + 1)}
    acknowledgement = publisher.publish_trial(trial(points=points(0, count), params=params, headline={}))
    run = reader.run(acknowledgement.run_id)
    assert (len(run.points), len(run.params)) == (count, len(params))


def test_a_long_parameter_is_cut_and_kept_whole_as_an_artifact(publisher, reader):
    acknowledgement = publisher.publish_trial(trial(params={"workload.model+layers": "7," * 5_000}))
    run = reader.run(acknowledgement.run_id)
    ((key, value),) = run.params.items()
    assert key.startswith("workload.model_layers-")
    assert "[cut: 10000 characters, sha256 " in value
    assert run.artifacts == {f"long_params/{key}.txt"}


def test_a_cell_of_many_trials_is_one_run_by_its_own_key(tracker, publisher):
    cell = trial(key=f"{STUDY.study_id}/cell", params={"schedule": "linear", "num_seeds": 5})
    assert publisher.publish_trial(cell).run_id == restarted(tracker)[0].publish_trial(cell).run_id


def test_the_parent_gets_report_figures_numbers_and_the_verdict_as_note(tracker, publisher, reader, tmp_path: Path):
    report = tmp_path / "report.html"
    report.write_text("<p>linear wins</p>")
    verdict = "**linear** wins. " * 1_000
    for done, loss in ((5, 0.2), (6, 0.3)):
        publisher.publish_parent(
            ParentPublication(
                key=STUDY.study_id,
                artifacts=[Artifact(report), Artifact(report, "figures")],
                metrics={"best_validation_loss": loss, "unbounded": math.inf},
                metrics_step=done,
                tags={"num_done": str(done)},
                note=verdict,
                epoch_ms=EPOCH_MS,
                status=EndStatus.FINISHED,
            )
        )
    runs = restarted(tracker)[1]
    parent = reader.run(runs.parent_run_id)
    assert (parent.status, parent.tags["num_done"]) == ("FINISHED", "6")
    assert parent.artifacts == {"study.json", "report.html", "figures/report.html"}
    assert [(step, value) for _, step, _, value in parent.points] == [(5, "0.2"), (6, "0.3")]
    assert "[cut: 17000 characters" in parent.tags["mlflow.note.content"]
    assert reader.experiment_tags(runs.experiment_name)["mlflow.note.content"] == verdict


def test_a_replaced_publishers_surplus_run_is_discarded_and_the_acknowledged_one_kept(tracker):
    first, runs = restarted(tracker)
    second, _ = restarted(tracker)
    second.discard_duplicates({})  # reads the runs now, before the first publisher adds one
    second._runs = {}
    kept = [publisher.publish_trial(trial()) for publisher in (first, second)][1]
    assert len(tracker.find_runs(runs.experiment_id)) == 3
    assert second.discard_duplicates({kept.key: kept.run_id}) == 1
    assert {run.run_id for run in tracker.find_runs(runs.experiment_id)} == {runs.parent_run_id, kept.run_id}


def test_states_become_the_statuses_of_mlflow():
    assert [end_status(state) for state in TrialState] == [None, None, "FINISHED", "KILLED", "FAILED"]


def test_children_are_found_by_the_tag_of_their_parent(mlflow_tracker):
    from mlflow import MlflowClient

    publisher = Publisher(mlflow_tracker)
    runs = publisher.ensure_study(STUDY)
    for number in range(3):
        publisher.publish_trial(trial(number))
    found = MlflowClient(tracking_uri=mlflow_tracker.uri).search_runs(
        [runs.experiment_id], f"tags.{PARENT_TAG} = '{runs.parent_run_id}'", order_by=["params.seed"]
    )
    assert [run.data.params["seed"] for run in found] == ["0", "1", "2"]
    assert all(run.data.metrics["final_train_loss"] == 0.05 for run in found)


_KILLED_BETWEEN_CREATION_AND_POINTS = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = [{root!r}, {tests!r}]
from workers.tracking.mlflow_tracker import MlflowTracker
from workers.tracking.publisher import Publisher
from test_publisher import STUDY, trial

class Killed(MlflowTracker):
    def log(self, run_id, batch):
        os.kill(os.getpid(), signal.SIGKILL)

publisher = Publisher(Killed({uri!r}, Path({artifacts!r})))
publisher.ensure_study(STUDY)
publisher.publish_trial(trial())
"""


@pytest.mark.proof
def test_a_publisher_killed_between_creation_and_acknowledgement_leaves_no_duplicate(mlflow_tracker, tmp_path: Path):
    script = _KILLED_BETWEEN_CREATION_AND_POINTS.format(
        root=str(Path(__file__).parents[2]),
        tests=str(Path(__file__).parent),
        uri=mlflow_tracker.uri,
        artifacts=str(tmp_path / "artifacts"),
    )
    killed = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, cwd=tmp_path, check=False)
    assert killed.returncode == -9, killed.stderr.decode()
    publisher, runs = restarted(mlflow_tracker)
    (half,) = (run for run in mlflow_tracker.find_runs(runs.experiment_id) if run.key == trial().key)
    whole = publisher.publish_trial(trial())
    statuses = {run.key: run.status for run in mlflow_tracker.find_runs(runs.experiment_id)}
    assert whole == Acknowledgement(trial().key, half.run_id, 20, ended=True)
    assert statuses == {STUDY.study_id: "RUNNING", trial().key: "FINISHED"}


_RACE = """
import os, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from workers.tracking.switches import set_switches
set_switches()
import mlflow.db, mlflow.store.tracking.sqlalchemy_store  # before the fork: four imports at once take ten seconds
from workers.tracking.mlflow_tracker import MlflowTracker


start, go = os.pipe()
for _ in range(4):
    if os.fork() == 0:
        os.close(go)
        os.read(start, 1)  # all return at once, when the parent closes the other end
        experiment = MlflowTracker({uri!r}).find_or_create_experiment("raced", {{"a": "1"}})
        os.write(1, experiment.experiment_id.encode() + b"\\n")  # one write: lines of two processes stay apart
        sys.exit()
os.close(go)
sys.exit(any(os.wait()[1] for _ in range(4)))
"""


@pytest.mark.proof
def test_processes_that_race_on_a_new_store_get_one_experiment(tmp_path: Path):
    uri = f"sqlite:///{tmp_path / 'home' / 'mlflow.sqlite'}"
    script = _RACE.format(root=str(Path(__file__).parents[2]), uri=uri)
    raced = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=False)
    assert raced.returncode == 0, raced.stderr
    assert raced.stdout.split() == [MlflowTracker(uri).find_or_create_experiment("raced", {}).experiment_id] * 4
