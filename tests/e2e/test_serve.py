"""`warmup-bench serve` with real drivers on a real Ray: from HTTP to done, cancelled, killed, adopted, stopped."""

import os
import signal
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.commands import wait_for
from tests.e2e.serving import Served, ended_at_last, processes_of_home, serve, trainers_of_home
from tests.e2e.specs import digits
from workers.ledger.ledger import Ledger
from workers.ledger.rows import EventKind

pytestmark = pytest.mark.slow

LONG, LONGER, LONGEST, ENDLESS = 1_500, 1_600, 4_000, 200_000
"""Steps: each study its own, or the trials of one would be taken over by the next."""
FREED_S = 10.0


@dataclass
class Story:
    """What happened to the studies of one home, whose service was killed, started again, stopped, and started again."""

    home: Path
    ids: dict[str, str] = field(default_factory=dict)
    found: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    with ended_at_last(tmp_path_factory.mktemp("serve") / "mein höme") as home:
        story = Story(home)
        with serve(home, "--workers", "2") as first:
            _share_and_cancel(story, first)
            _kill(story, first)
        with serve(home, "--workers", "2") as second:
            _adopt(story, second)
            _stop(story, second)
        with serve(home, "--workers", "2") as third:
            story.found["continued"] = third.wait_until(story.ids["stopped"], "done")
            _lose_ray(story, third)
            story.found["status of Ctrl-C"] = third.stop(signal.SIGINT)
        yield story


def _share_and_cancel(story: Story, served: Served) -> None:
    """One study has all cores until another one comes; a third waits; the cancel of one gives its core to the third."""
    ids, found = story.ids, story.found
    found["key mode"] = stat.S_IMODE((story.home / "serve.key").stat().st_mode)
    found["libraries"] = Path(f"/proc/{served.process.pid}/maps").read_text(encoding="utf-8")
    ids["cancelled"] = served.submit(digits(ENDLESS, num_seeds=1, name="endless"))
    served.wait_for_steps(ids["cancelled"])
    wait_for(lambda: len(trainers_of_home(story.home)) == 2, "both cores to work")
    ids["killed"] = served.submit(digits(LONGEST, num_seeds=1, name="long"))
    served.wait_for_steps(ids["killed"])
    found["trainers of two"] = len(trainers_of_home(story.home))
    ids["waits"] = served.submit(digits(40, num_seeds=1, name="short"))
    time.sleep(2.0)
    found["third"] = served.study(ids["waits"])["state"]
    began = time.monotonic()
    (doomed,) = _drivers_of(story, "cancelled")
    served.request("POST", f"/v1/studies/{ids['cancelled']}:cancel")
    served.wait_until(ids["cancelled"], "cancelled")
    wait_for(lambda: not psutil.pid_exists(doomed) or len(trainers_of_home(story.home)) < 2, "a free core")
    found["seconds to cancel"] = time.monotonic() - began
    found["cancelled again"] = served.request("POST", f"/v1/studies/{ids['cancelled']}:cancel")["state"]
    served.wait_until(ids["waits"], "done")


def _kill(story: Story, served: Served) -> None:
    story.found["driver"] = _drivers_of(story, "killed")
    served.kill()
    story.found["state when killed"] = _state(story, "killed")
    time.sleep(1.0)
    story.found["driver without a service"] = _drivers_of(story, "killed")


def _adopt(story: Story, served: Served) -> None:
    story.found["killed"] = served.wait_until(story.ids["killed"], "done")
    story.found["said by the second"] = served.said()


def _stop(story: Story, served: Served) -> None:
    story.ids["stopped"] = served.submit(digits(LONGER, num_seeds=1, name="stopped"))
    served.wait_for_steps(story.ids["stopped"])
    began = time.monotonic()
    story.found["status"] = served.stop()
    story.found["seconds to stop"] = time.monotonic() - began
    story.found["left"] = processes_of_home(story.home)
    story.found["state when stopped"] = _state(story, "stopped")


def _lose_ray(story: Story, served: Served) -> None:
    story.ids["ray lost"] = served.submit(digits(LONG, num_seeds=1, name="ray lost"))
    served.wait_for_steps(story.ids["ray lost"])
    (host,) = [pid for pid, line in processes_of_home(story.home).items() if "workers.cluster.ray_host" in line]
    os.kill(host, signal.SIGKILL)
    story.found["ray lost"] = served.wait_until(story.ids["ray lost"], "done")


def _drivers_of(story: Story, name: str) -> list[int]:
    mark = f"workers.cluster --study {story.ids[name]}"
    return [pid for pid, line in processes_of_home(story.home).items() if mark in line]


def _state(story: Story, name: str) -> str:
    with Ledger.open(story.home, create=False) as ledger:
        return ledger.study_head(story.ids[name]).state


def _events(story: Story, name: str, kind: EventKind) -> list[Any]:
    with Ledger.open(story.home, create=False) as ledger:
        return [event for event in ledger.events(story.ids[name]) if event.kind is kind]


def _steps(story: Story, name: str) -> set[int]:
    """How many steps each trial's records have."""
    with Ledger.open(story.home, create=False) as ledger:
        return {pack.step for pack in ledger.packs(story.ids[name])}


def test_the_process_of_the_api_has_neither_torch_nor_ray(story: Story) -> None:
    assert "libssl" in story.found["libraries"] or "_sqlite3" in story.found["libraries"]
    assert "torch" not in story.found["libraries"]
    assert "_raylet" not in story.found["libraries"]


def test_the_key_of_the_home_is_for_its_owner_alone(story: Story) -> None:
    assert story.found["key mode"] == 0o600


def test_two_studies_share_the_cores_and_a_third_waits(story: Story) -> None:
    assert story.found["trainers of two"] == 2
    assert story.found["third"] == "queued"
    requeued = [event.payload["reason"] for event in _events(story, "cancelled", EventKind.PACK_REQUEUED)]
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
    assert len(_events(story, "killed", EventKind.STUDY_RUNNING)) == 1
    assert len(_events(story, "killed", EventKind.TRIAL_DONE)) == 8
    assert _steps(story, "killed") == {LONGEST}


def test_a_stop_saves_ends_everything_and_leaves_the_study_to_the_next_service(story: Story) -> None:
    assert story.found["status"] == 0
    assert story.found["seconds to stop"] < 40.0
    assert story.found["left"] == {}
    assert story.found["state when stopped"] == "queued"
    assert story.found["continued"]["counts"]["done"] == 8
    assert len(_events(story, "stopped", EventKind.TRIAL_DONE)) == 8
    assert max(event.payload["step"] for event in _events(story, "stopped", EventKind.PACK_STARTED)) > 0


def test_a_ray_that_is_killed_is_replaced_and_the_study_goes_on(story: Story) -> None:
    assert story.found["ray lost"]["counts"]["done"] == 8
    assert len(_events(story, "ray lost", EventKind.STUDY_RUNNING)) == 2
    assert _steps(story, "ray lost") == {LONG}


def test_nothing_is_left_after_ctrl_c(story: Story) -> None:
    assert story.found["status of Ctrl-C"] == 0
    assert processes_of_home(story.home) == {}
    assert list((story.home / "ray").iterdir()) == []
