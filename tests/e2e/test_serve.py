"""`warmup-bench serve` with real drivers on a real Ray: from HTTP to done, cancelled, killed, adopted, stopped.

Also from `submit --follow` to verdict and records, by the key that the service left in its home.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from tests.e2e.serve_story import LONG, LONGEST, TABLES, Story, Submitted, told
from tests.e2e.serving import processes_of_home
from workers.ledger.rows import EventKind

pytestmark = pytest.mark.slow

FREED_S = 10.0


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    with told(tmp_path_factory.mktemp("serve") / "mein höme") as story:
        yield story


@pytest.fixture
def submitted(story: Story) -> Submitted:
    assert story.submitted is not None
    return story.submitted


def test_the_process_of_the_api_has_neither_torch_nor_ray(story: Story) -> None:
    assert "libssl" in story.found["libraries"] or "_sqlite3" in story.found["libraries"]
    assert "torch" not in story.found["libraries"]
    assert "_raylet" not in story.found["libraries"]


def test_the_key_of_the_home_is_for_its_owner_alone(story: Story) -> None:
    assert story.found["key mode"] == 0o600


def test_two_studies_share_the_cores_and_a_third_waits(story: Story) -> None:
    assert story.found["trainers of two"] == 2
    assert story.found["third"] == "queued"
    requeued = [event.payload["reason"] for event in story.events("cancelled", EventKind.PACK_REQUEUED)]
    assert "its core goes to another study" in requeued


def test_a_cancel_frees_its_cores_within_ten_seconds_and_may_be_repeated(story: Story) -> None:
    assert story.found["seconds to cancel"] < FREED_S
    assert story.found["cancelled again"] == "cancelled"


def test_drivers_outlive_a_service_that_is_killed(story: Story) -> None:
    assert story.found["state when killed"] == "running"
    assert story.found["driver without a service"] == story.found["driver"] != []


def test_the_next_service_adopts_the_driver_and_the_study_is_done_once(story: Story) -> None:
    assert '"adopted a driver"' in story.found["said by the second"]
    assert "took over the Ray" in story.found["said by the second"]
    assert story.found["killed"]["counts"]["done"] == 8
    assert len(story.events("killed", EventKind.STUDY_RUNNING)) == 1
    assert len(story.events("killed", EventKind.TRIAL_DONE)) == 8
    assert story.steps("killed") == {LONGEST}


def test_a_stop_saves_ends_everything_and_leaves_the_study_to_the_next_service(story: Story) -> None:
    assert story.found["status"] == 0
    assert story.found["seconds to stop"] < 40.0
    assert story.found["left"] == {}
    assert story.found["state when stopped"] == "queued"
    assert story.found["continued"]["counts"]["done"] == 8
    assert len(story.events("stopped", EventKind.TRIAL_DONE)) == 8
    _, continued, after_ray = story.events("stopped", EventKind.STUDY_RUNNING)
    started = story.events("stopped", EventKind.PACK_STARTED)
    assert max(event.payload["step"] for event in started if continued.seq < event.seq < after_ray.seq) > 0


def test_a_ray_that_is_killed_is_replaced_and_the_study_goes_on(story: Story) -> None:
    assert story.found["continued"]["counts"]["done"] == 8
    assert len(story.events("stopped", EventKind.STUDY_RUNNING)) == 3, "launched, continued, and once more"
    assert story.steps("stopped") == {LONG}


def test_nothing_is_left_after_ctrl_c(story: Story) -> None:
    assert story.found["status of Ctrl-C"] == 0
    assert processes_of_home(story.home) == {}
    assert list((story.home / "ray").iterdir()) == []


def test_the_command_that_submitted_ends_with_the_verdict(submitted: Submitted) -> None:
    answer = json.loads(submitted.followed.out)
    assert (submitted.followed.status, answer["state"], answer["counts"]["done"]) == (0, "done", 8)
    assert answer["verdict"] == (submitted.folder / "verdict.txt").read_text(encoding="utf-8")
    assert answer["ranking"]


def test_it_has_shown_how_far_the_study_was(submitted: Submitted) -> None:
    lines = submitted.followed.err.splitlines()
    assert lines[0].startswith("warmup-bench: server http://127.0.0.1:")
    # What comes behind it is said while the report is fetched, which the server may still be writing.
    shown = [line for line in lines if not line.startswith("waiting for its report")]
    assert shown[-1].startswith("8/8 trials done")
    # Which of its stages are seen depends on how often a busy machine lets the command look.
    assert any("starting Ray" in line or "running" in line for line in shown[:-1])


def test_the_report_that_is_fetched_is_the_one_that_was_written(submitted: Submitted) -> None:
    assert submitted.reported.status == 0
    out = Path(submitted.reported.out.splitlines()[-1].removeprefix("report ")).parent
    for name in ("report.html", "report.json", "verdict.txt"):
        assert (out / name).read_bytes() == (submitted.folder / name).read_bytes()


@pytest.mark.parametrize("table", TABLES)
def test_records_over_the_wire_are_those_of_the_result_folder(submitted: Submitted, table: str) -> None:
    whole = pq.read_table(submitted.folder / f"{table}.parquet")
    assert len(submitted.trials) == 8
    for trial in submitted.trials:
        expected = whole.filter(pc.equal(whole["trial_id"], trial.id)).to_pydict()
        assert repr(submitted.tables[trial.id, table]) == repr(expected)
        assert repr(submitted.columns[trial.id, table]) == repr(expected)


def test_a_diverged_trial_has_its_last_numbers(submitted: Submitted) -> None:
    (lost, *_) = [trial for trial in submitted.trials if trial.outcome == "diverged"]
    assert lost.peak_lr == 1e6
    assert lost.summary is not None
    assert isinstance((lost.summary.final or {})["train_loss"], float)
    assert submitted.some["step"][:2] == [2, 4][: len(submitted.some["step"])]


def test_its_events_are_told_from_the_first_to_the_last(submitted: Submitted) -> None:
    assert submitted.kinds[0] == "study_created"
    assert submitted.kinds.count("trial_done") == 8
    assert "study_done" in submitted.kinds
