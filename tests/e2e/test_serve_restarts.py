"""`warmup-bench serve` with real drivers on a real Ray: cores shared, cancelled, killed, adopted, stopped, Ray lost."""

from collections.abc import Iterator

import pytest

from tests.e2e.serve_story import LONG, LONGEST, Story, told
from tests.e2e.serving import processes_of_home
from workers.ledger.rows import EventKind

pytestmark = [pytest.mark.slow, pytest.mark.proof]

FREED_S = 10.0


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    with told(tmp_path_factory.mktemp("serve") / "mein höme") as story:
        yield story


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
