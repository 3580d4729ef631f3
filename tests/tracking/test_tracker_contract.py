"""What every tracker must do: one suite, run on MLflow's SQLite store and on the one in memory."""

import math
from pathlib import Path

import pytest

from workers.tracking.names import (
    KEY_TAG,
    MAX_EXPERIMENT_TAG_LENGTH,
    MAX_PARAM_LENGTH,
    MAX_TAG_LENGTH,
    NOTE_TAG,
)
from workers.tracking.port import Batch, PublicationRefused
from workers.tracking.publications import EndStatus, MetricPoint


@pytest.fixture
def experiment_id(tracker):
    return tracker.find_or_create_experiment("warm-0123abcd", {"a": "1"}).experiment_id


@pytest.fixture
def run_id(tracker, experiment_id):
    return tracker.create_run(experiment_id, "first", 1_000, {KEY_TAG: "study/first"})


def points(count, key="train_loss"):
    return [MetricPoint(key, 1 / (step + 1), step, 1_000 + step) for step in range(count)]


def test_an_experiment_is_created_once_and_then_found(tracker, experiment_id):
    again = tracker.find_or_create_experiment("warm-0123abcd", {"a": "2"})
    assert (again.experiment_id, dict(again.tags)) == (experiment_id, {"a": "1"})


def test_an_experiment_tag_holds_twenty_thousand_characters(tracker, experiment_id, reader):
    tracker.set_experiment_tag(experiment_id, NOTE_TAG, "x" * MAX_EXPERIMENT_TAG_LENGTH)
    assert len(reader.experiment_tags("warm-0123abcd")[NOTE_TAG]) == MAX_EXPERIMENT_TAG_LENGTH


def test_a_run_starts_running_and_ends_as_told(tracker, experiment_id, run_id):
    (running,) = tracker.find_runs(experiment_id)
    tracker.end_run(run_id, EndStatus.KILLED, 2_000)
    (ended,) = tracker.find_runs(experiment_id)
    assert (running.run_id, running.key, running.status, ended.status) == (run_id, "study/first", "RUNNING", "KILLED")


def test_runs_are_found_by_key_and_all_together(tracker, experiment_id, run_id):
    other = tracker.create_run(experiment_id, "second", 1_000, {KEY_TAG: "study/second"})
    assert {run.run_id for run in tracker.find_runs(experiment_id)} == {run_id, other}
    assert [run.run_id for run in tracker.find_runs(experiment_id, "study/second")] == [other]
    assert list(tracker.find_runs(experiment_id, "study/third")) == []


def test_a_discarded_run_is_no_longer_found(tracker, experiment_id, run_id):
    tracker.discard_run(run_id)
    assert list(tracker.find_runs(experiment_id)) == []


def test_a_discarded_run_takes_no_more_points(tracker, run_id):
    tracker.discard_run(run_id)
    with pytest.raises(PublicationRefused):
        tracker.log(run_id, Batch(metrics=points(1)))


def test_equal_points_are_kept_once(tracker, run_id, reader):
    tracker.log(run_id, Batch(metrics=points(5)))
    tracker.log(run_id, Batch(metrics=points(7)))
    assert [(step, time) for _, step, time, _ in reader.run(run_id).points] == [(s, 1_000 + s) for s in range(7)]


def test_nan_stays_nan_and_is_kept_once(tracker, run_id, reader):
    for _ in range(2):
        tracker.log(run_id, Batch(metrics=[MetricPoint("loss", math.nan, 3, 1_003)]))
    assert reader.run(run_id).points == [("loss", 3, 1_003, "nan")]


def test_a_parameter_may_be_repeated_but_not_changed(tracker, run_id, reader):
    tracker.log(run_id, Batch(params=[("peak_lr", "0.1")]))
    tracker.log(run_id, Batch(params=[("peak_lr", "0.1"), ("seed", "0")]))
    with pytest.raises(PublicationRefused):
        tracker.log(run_id, Batch(params=[("peak_lr", "0.2")]))
    assert reader.run(run_id).params == {"peak_lr": "0.1", "seed": "0"}


def test_the_newest_tag_wins(tracker, run_id, reader):
    tracker.log(run_id, Batch(tags=[("outcome", "stalled")]))
    tracker.log(run_id, Batch(tags=[("outcome", "trained")]))
    assert reader.run(run_id).tags["outcome"] == "trained"


def test_an_ended_run_still_takes_points(tracker, run_id, reader):
    tracker.end_run(run_id, EndStatus.FINISHED, 2_000)
    tracker.log(run_id, Batch(metrics=points(1)))
    assert len(reader.run(run_id).points) == 1


def test_text_of_any_script_comes_back_as_it_was(tracker, run_id, reader):
    tracker.log(run_id, Batch(params=[("schedule", "линейный 線形 🔥")], tags=[("reason", "naïve — ∞")]))
    run = reader.run(run_id)
    assert (run.params["schedule"], run.tags["reason"]) == ("линейный 線形 🔥", "naïve — ∞")


def test_the_longest_texts_are_taken(tracker, run_id, reader):
    tracker.log(run_id, Batch(params=[("p", "x" * MAX_PARAM_LENGTH)], tags=[("t", "x" * MAX_TAG_LENGTH)]))
    run = reader.run(run_id)
    assert (len(run.params["p"]), len(run.tags["t"])) == (MAX_PARAM_LENGTH, MAX_TAG_LENGTH)


@pytest.mark.parametrize(
    "batch",
    [Batch(params=[("p", "x" * (MAX_PARAM_LENGTH + 1))]), Batch(tags=[("t", "x" * (MAX_TAG_LENGTH + 1))])],
    ids=["parameter", "tag"],
)
def test_a_longer_text_is_refused_not_cut(tracker, run_id, batch):
    with pytest.raises(PublicationRefused):
        tracker.log(run_id, batch)


def test_a_full_batch_is_taken_whole(tracker, run_id, reader):
    params = [(f"p{number}", "v") for number in range(100)]
    tags = [(f"t{number}", "v") for number in range(100)]
    tracker.log(run_id, Batch(metrics=points(800), params=params, tags=tags))
    run = reader.run(run_id)
    assert (len(run.points), len(run.params)) == (800, 100)
    assert set(dict(tags)) <= set(run.tags)


def test_files_and_texts_become_artifacts_and_are_replaced(tracker, run_id, reader, tmp_path: Path):
    figure = tmp_path / "figuré 1.svg"
    for content in ("old", "new"):
        figure.write_text(content)
        tracker.upload(run_id, figure, "figures")
        tracker.upload_text(run_id, content, "study.json")
    assert reader.run(run_id).artifacts == {"figures/figuré 1.svg", "study.json"}


def test_an_unknown_run_is_refused(tracker, experiment_id):
    with pytest.raises(PublicationRefused):
        tracker.log("f" * 32, Batch(metrics=points(1)))


def test_every_point_of_a_run_is_read_back(tracker, run_id):
    held = [*points(3), *points(2, "lr"), MetricPoint("final", math.nan, 3, 1_003)]
    tracker.log(run_id, Batch(metrics=held))
    assert sorted(map(repr, tracker.read_points(run_id))) == sorted(map(repr, held))


def test_an_experiment_that_is_only_looked_for_is_not_made(tracker, experiment_id):
    assert tracker.find_experiment("warm-0123abcd").experiment_id == experiment_id
    assert tracker.find_experiment("another") is None
