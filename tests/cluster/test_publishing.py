"""The publisher beside a driver: what becomes of one that has ended before everything was published."""

import signal
from pathlib import Path

import pytest

from workers.cluster import publishing
from workers.cluster.publishing import MAX_STARTS, Publishing
from workers.cluster.stopping import StopRequest
from workers.places import Places

KILLED = -signal.SIGKILL


class Child:
    """A publisher that has ended with a status; or, where it is None, that never ends by itself."""

    def __init__(self, status: int | None) -> None:
        self.status, self.is_stopped = status, False

    def poll(self) -> int | None:
        return self.status

    def stop(self, grace_s: float) -> None:
        self.is_stopped = True


class Steady:
    """What the publisher's end is told to."""

    said: str | None = None

    def insist(self, ask) -> None:
        ask(self)

    def set_publishing(self, study_id: str, state: str, *, fence: int) -> None:
        self.said = state


@pytest.fixture
def drained(monkeypatch, tmp_path: Path):
    """Drains publishers that end with these statuses, one after the other: how many there were, and what was said."""

    def drain(*statuses: int | None):
        children = [Child(status) for status in statuses]
        waiting = iter(children)
        monkeypatch.setattr(publishing, "start_publisher", lambda *_args, **_more: next(waiting))
        monkeypatch.setattr(publishing, "POLL_S", 0.0)
        monkeypatch.setattr(publishing, "DRAIN_S", 0.2)
        places = Places.resolve(home=str(tmp_path), environment={})
        beside, steady = Publishing("study", places), Steady()
        beside.start()
        beside.drain(steady, 1, StopRequest(None))
        return len(statuses) - len(list(waiting)), steady.said, children

    return drain


def test_one_that_publishes_everything_is_the_only_one(drained) -> None:
    assert drained(0)[:2] == (1, None)


def test_one_that_was_killed_is_followed_by_another_until_one_has_done_it(drained) -> None:
    assert drained(KILLED, KILLED, 0)[:2] == (3, None)


def test_one_that_is_killed_again_and_again_is_left_for_sync(drained) -> None:
    assert drained(*[KILLED] * 20)[:2] == (1 + MAX_STARTS, "behind")


def test_one_that_gave_up_while_it_trained_is_followed_by_one_that_may_fare_better(drained) -> None:
    assert drained(1, 0)[:2] == (2, None)
    assert drained(1, 1, 0)[:2] == (2, "behind")


def test_one_that_does_not_end_is_stopped_and_the_study_is_behind(drained) -> None:
    number, said, (child,) = drained(None)
    assert (number, said, child.is_stopped) == (1, "behind", True)


def test_nothing_is_started_where_there_is_no_tracker(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(publishing, "start_publisher", lambda *_args, **_more: pytest.fail("started"))
    beside, steady = (
        Publishing("study", Places.resolve(home=str(tmp_path), tracking_uri="none", environment={})),
        Steady(),
    )
    beside.start()
    beside.drain(steady, 1, StopRequest(None))
    beside.stop()
    assert steady.said is None
