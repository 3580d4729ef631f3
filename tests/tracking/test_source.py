"""From ledger and records to a tracker: what is published, once, whenever it is asked for again."""

import threading
from pathlib import Path

import pytest

from schemas.study import parse_study
from schemas.trials import TrialState
from tests.cluster.conftest import StopAfter, make_house  # noqa: F401 - a fixture
from tests.e2e.specs import digits
from tests.tracking.test_loop import Clock
from workers.cluster.planning import datasets_of
from workers.extending import extend_study
from workers.planning import expand_trials
from workers.results.write import write_results
from workers.tracking.__main__ import EXIT_FAILED, main
from workers.tracking.loop import PublishingState, run_publisher
from workers.tracking.memory_tracker import MemoryTracker
from workers.tracking.names import KEY_TAG
from workers.tracking.publisher import Publisher
from workers.tracking.source import LedgerSource

pytestmark = pytest.mark.slow  # every test trains


def publish(house, tracker: MemoryTracker, **how: int) -> PublishingState:
    stop = threading.Event()
    stop.set()
    source = LedgerSource(house.ledger, house.study.id, house.places, stop, **how)
    clock = Clock()  # so that a busy machine does not end it before all is published
    return run_publisher(source, Publisher(tracker), stop, drain_s=0.5, clock=clock, sleep=clock.sleep)


def contents(tracker: MemoryTracker) -> dict[str, tuple[str, list[str], dict[str, str]]]:
    """Key -> status, points as text, parameters."""
    runs = [run for run in tracker.runs.values() if not run.discarded]
    points = [sorted(f"{point.key} {point.step} {point.value!r}" for point in run.points.values()) for run in runs]
    found = {run.tags[KEY_TAG]: (run.status, of, run.params) for run, of in zip(runs, points, strict=True)}
    assert len(found) == len(runs)
    return found


@pytest.fixture
def finished(make_house):  # noqa: F811
    house = make_house()
    house.finish()
    return house


@pytest.fixture
def reported(finished):
    write_results(finished.ledger, finished.study.id, finished.places, finished.places.study_folder(finished.study.id))
    return finished


def test_a_finished_study_has_a_run_per_trial_and_a_parent(reported) -> None:
    finished, tracker = reported, MemoryTracker()
    assert publish(finished, tracker) is PublishingState.CURRENT
    runs = contents(tracker)
    assert len(runs) == 8 + 1
    assert {status for status, _, _ in runs.values()} == {"FINISHED"}
    parent = next(run for run in tracker.runs.values() if run.tags[KEY_TAG] == finished.study.id)
    assert {"report.html", "verdict.txt", "trials.parquet"} <= {Path(name).name for name in parent.artifacts}
    assert finished.ledger.study(finished.study.id).publishing == "current"


def test_a_trials_run_has_its_curves_its_end_and_what_it_was(finished) -> None:
    tracker = MemoryTracker()
    publish(finished, tracker)
    _, points, params = next(run for key, run in contents(tracker).items() if "/" in key)
    keys = {point.split()[0] for point in points}
    assert {"train_loss", "lr", "validation_loss", "sharpness", "secant_smoothness", "final_test_accuracy"} <= keys
    assert {"schedule", "peak_lr", "warmup_steps", "optimizer.kind", "workload.batch_size", "seed"} <= params.keys()


def test_publishing_again_adds_nothing(finished) -> None:
    tracker = MemoryTracker()
    publish(finished, tracker)
    before, calls = contents(tracker), tracker.num_calls
    publish(finished, tracker)
    assert contents(tracker) == before
    assert tracker.num_calls - calls < 10


def test_a_store_that_is_new_gets_everything_again(finished) -> None:
    first, second = MemoryTracker(), MemoryTracker()
    publish(finished, first)
    publish(finished, second)
    assert contents(second) == contents(first)


def test_a_tracker_that_is_down_leaves_the_study_behind_until_it_answers(finished) -> None:
    tracker = MemoryTracker()
    tracker.is_down = True
    assert publish(finished, tracker) is PublishingState.BEHIND
    assert finished.ledger.study(finished.study.id).publishing == "behind"
    tracker.is_down = False
    assert publish(finished, tracker) is PublishingState.CURRENT
    assert len(contents(tracker)) == 8 + 1


def test_why_the_tracker_does_not_have_everything_is_kept_in_one_line_until_it_has(finished, caplog) -> None:
    tracker = MemoryTracker()
    tracker.is_down = True
    publish(finished, tracker)
    reason = finished.ledger.why_behind(finished.study.id)
    assert reason
    assert "\n" not in reason
    assert [record.getMessage() for record in caplog.records if record.name == "warmup_bench.tracking"] == [
        f"study {finished.study.id}: {reason}"
    ]
    tracker.is_down = False
    publish(finished, tracker)
    assert finished.ledger.why_behind(finished.study.id) == ""


def test_a_study_whose_records_are_damaged_is_behind_and_holds_up_no_other(finished, tmp_path, caplog) -> None:
    store = f"sqlite:///{tmp_path}/mlflow.sqlite"
    flags = ["--home", str(finished.places.home), "--records", finished.places.records, "--tracking-uri", store]
    for segment in Path(finished.places.records).rglob("*.parquet"):
        segment.write_bytes(b"damaged")
    assert finished.ledger.study(finished.study.id).publishing == "current"
    assert main([*flags, "--study", finished.study.id, "--study", finished.study.id]) == EXIT_FAILED
    assert finished.ledger.study(finished.study.id).publishing == "behind"
    assert "packs/" in finished.ledger.why_behind(finished.study.id)
    said = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(said) == 2


def test_what_was_published_while_it_trained_ends_up_as_if_published_at_the_end(make_house, finished) -> None:  # noqa: F811
    whole, parts = MemoryTracker(), MemoryTracker()
    publish(finished, whole)
    house = make_house("live")
    assert house.drive(stop=StopAfter(3)) is TrialState.QUEUED
    publish(house, parts)
    assert {status for status, _, _ in contents(parts).values()} == {"RUNNING"}
    house.finish()
    write_results(house.ledger, house.study.id, house.places, house.places.study_folder(house.study.id))
    publish(house, parts)
    assert _anonymous(parts, house) == _anonymous(whole, finished)


def _anonymous(tracker: MemoryTracker, house) -> dict[str, object]:
    return {key.replace(house.study.id, "id"): run for key, run in contents(tracker).items()}


def test_a_study_over_the_limit_has_one_run_per_cell(finished) -> None:
    tracker = MemoryTracker()
    assert publish(finished, tracker, max_runs=7) is PublishingState.CURRENT
    assert len(contents(tracker)) == 8 + 1  # one seed: as many cells as trials
    assert not any(point.startswith("train_loss ") for _, points, _ in contents(tracker).values() for point in points)
    before = contents(tracker)
    publish(finished, tracker, max_runs=7)
    assert contents(tracker) == before


def test_an_extended_study_publishes_its_new_trials_and_its_report_again(finished) -> None:
    tracker = MemoryTracker()
    publish(finished, tracker)
    before = contents(tracker)
    widen(finished, 2)
    assert publish(finished, tracker) is PublishingState.CURRENT
    after = contents(tracker)
    assert len(after) == 16 + 1
    assert {key: run for key, run in after.items() if key in before and "/" in key} == {
        key: run for key, run in before.items() if "/" in key
    }
    _, points, _ = after[finished.study.id]
    assert "trials_done 16 16.0" in points
    parent = next(run for run in tracker.runs.values() if run.tags[KEY_TAG] == finished.study.id)
    assert parent.tags["warmup_bench.spec_hash"] == finished.ledger.study(finished.study.id).spec_hash


def test_a_cell_that_gets_more_seeds_has_their_means_in_the_same_run(finished) -> None:
    tracker = MemoryTracker()
    publish(finished, tracker, max_runs=7)
    widen(finished, 2)
    publish(finished, tracker, max_runs=7)
    cells = {key: points for key, (_, points, _) in contents(tracker).items() if "/" in key}
    assert len(cells) == 8
    for points in cells.values():
        assert [point for point in points if point.startswith("num_seeds ")] == ["num_seeds 1 1.0", "num_seeds 2 2.0"]
        assert [point.split()[1] for point in points if point.startswith("final_train_loss ")] == ["1", "2"]


def widen(house, num_seeds: int) -> None:
    """More seeds, trained to their end, and the report of all."""
    study = parse_study(digits(40, num_seeds=num_seeds))
    extend_study(house.ledger, house.study.id, study, expand_trials(study, datasets_of(house.ledger)))
    house.finish()
    write_results(house.ledger, house.study.id, house.places, house.places.study_folder(house.study.id))
