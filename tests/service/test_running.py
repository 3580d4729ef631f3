"""Creating, continuing and following a study, without its driver."""

import os
import re
import subprocess
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import PlaceError, StaleFence
from schemas.trials import TrialState
from service.preparing import Prepared, prepare
from service.progress import Progress
from service.requests import accept
from service.running import MAX_LAUNCHES, DriverFailed, Watch, collect
from tests.cluster.conftest import House, StopAfter, make_house  # noqa: F401 - a fixture
from tests.e2e.specs import digits
from tests.service.driving import gone_owner
from workers import marks
from workers.data import facts_of
from workers.holders import lease_owner
from workers.launcher import EXIT_FAILED, EXIT_NOT_MINE, EXIT_RAY_LOST
from workers.ledger.ledger import Ledger

pytestmark = pytest.mark.slow  # every test trains


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.running.AGAIN_AFTER_S", 0.0)


@pytest.fixture
def house(make_house) -> House:  # noqa: F811
    return make_house()


def prepared(house: House, document: dict[str, Any], out: Path | None = None) -> Prepared:
    return prepare(house.ledger, accept(document, house.places), house.places, out)


def test_the_same_file_continues_its_study_and_another_makes_another(house: House) -> None:
    same, other = prepared(house, digits(40, num_seeds=1)), prepared(house, digits(41, num_seeds=1))
    assert (same.row.id, same.is_new) == (house.study.id, False)
    assert (other.row.id != house.study.id, other.is_new) == (True, True)


def test_a_file_whose_data_has_changed_makes_a_new_study(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "service.requests.facts_of",
        lambda dataset, folder: facts_of(dataset, folder).model_copy(update={"sha256": "0" * 64}),
    )
    assert prepared(house, digits(40, num_seeds=1)).is_new


def test_commands_that_start_at_once_make_one_study(house: House) -> None:
    request, found, together = accept(digits(50), house.places), [], threading.Barrier(4)

    def one() -> None:
        with Ledger.open(house.places.home) as ledger:
            together.wait()
            found.append(prepare(ledger, request, house.places, None))

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({each.row.id for each in found}) == 1
    assert sum(each.is_new for each in found) == 1


def test_a_report_that_could_not_be_written_is_written_by_the_next_command(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.finish()
    again = prepared(house, digits(40, num_seeds=1), tmp_path / "out")

    def full(*_: object) -> None:
        raise PlaceError("results: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("workers.results.write.write_report", full)
        with pytest.raises(PlaceError, match="No space left"):
            collect(house.ledger, house.places, again)
    assert not (tmp_path / "out").exists()
    collect(house.ledger, house.places, again)
    assert (tmp_path / "out" / "report.html").is_file()


class FakeDriver:
    """A driver process that has ended with `status` when first asked."""

    log = Path("driver.log")
    process = type("Process", (), {"pid": 2**22 + 1})()

    def __init__(self, status: int | None, first: Any = None) -> None:
        self._status = status
        if first is not None:
            first()

    def poll(self) -> int | None:
        return self._status

    def tail(self) -> str:
        return "the last line of the log"


@pytest.fixture
def watch(house: House, monkeypatch: pytest.MonkeyPatch):
    """A watch whose drivers end as told, and the progress it has shown."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)

    def make(*drivers: Any) -> Watch:
        left = list(drivers)
        monkeypatch.setattr("service.running.start_driver", lambda *_, **__: left.pop(0)())
        return Watch(house.ledger, house.study, house.places, 1)

    return make


def test_a_driver_that_was_killed_is_started_again(house: House, watch) -> None:
    notices: list[str] = []

    def show(progress: Progress) -> None:
        notices.extend(progress.notices)
        progress.notices.clear()

    follow = watch(lambda: FakeDriver(-9), lambda: FakeDriver(0, house.finish))
    assert follow.follow(show).state is TrialState.DONE
    assert "the driver was killed (signal 9); starting it again" in notices


def test_what_befell_packs_before_this_command_is_not_told_again(house: House, watch) -> None:
    house.drive(workers=1, stop=StopAfter(3))
    assert any(event.payload.get("reason") == "asked to stop" for event in house.ledger.events(house.study.id))
    notices: list[str] = []
    assert watch(lambda: FakeDriver(0, house.finish)).follow(lambda now: notices.extend(now.notices)).state == "done"
    assert notices == []


def test_a_driver_that_fails_is_an_error_with_the_end_of_its_log(watch) -> None:
    with pytest.raises(
        DriverFailed, match=rf"status {EXIT_FAILED}; the same command continues(.|\n)*the last line of the log"
    ):
        watch(lambda: FakeDriver(EXIT_FAILED)).follow(lambda progress: None)


def test_a_driver_that_a_library_ended_is_started_again(house: House, watch) -> None:
    follow = watch(lambda: FakeDriver(1), lambda: FakeDriver(0, house.finish))
    assert follow.follow(lambda progress: None).state is TrialState.DONE


def test_what_an_ended_driver_leaves_of_its_ray_is_ended_with_it(house: House, watch) -> None:
    mark = {marks.STUDY: house.study.id, marks.RAY: "its"}
    left = subprocess.Popen(["tail", "-f", "/dev/null"], env={"PATH": os.environ["PATH"], **mark})
    try:
        follow = watch(lambda: FakeDriver(0, house.finish))
        follow.follow(lambda progress: None)
        follow.publish(lambda progress: None)
        assert left.poll() is not None
    finally:
        left.kill()


def test_a_driver_that_is_killed_again_and_again_is_given_up(watch) -> None:
    with pytest.raises(DriverFailed, match="signal 9"):
        watch(*[lambda: FakeDriver(-9)] * 5).follow(lambda progress: None)


def test_a_study_that_another_command_drives_is_followed(house: House, watch) -> None:
    house.ledger.acquire_lease(house.study.id, "run", "another", 30.0)
    follow, shown = watch(), []

    def show(progress: Progress) -> None:
        shown.append(progress.state)
        if len(shown) == 3:
            house.ledger.release_lease(house.study.id, "run", "another", house.ledger.study(house.study.id).attempt)
            house.finish()

    assert follow.follow(show).state is TrialState.DONE
    assert follow.is_adopted
    assert not follow.has_failed


def test_a_driver_that_came_second_leaves_the_study_to_the_first(house: House, watch) -> None:
    follow = watch(lambda: FakeDriver(EXIT_NOT_MINE, house.finish))
    assert follow.follow(lambda progress: None).state is TrialState.DONE


GONE = 2**22 + 2
"""No process has this id: it is above the largest that Linux gives."""


def test_a_driver_that_goes_on_further_each_time_is_started_again_and_again(house: House, watch) -> None:
    def one_turn() -> None:
        house.drive(workers=1, stop=StopAfter(3))

    drivers = [lambda: FakeDriver(EXIT_RAY_LOST, one_turn)] * (MAX_LAUNCHES + 1)
    follow, notices = watch(*drivers, lambda: FakeDriver(0, house.finish)), []

    def show(progress: Progress) -> None:
        notices.extend(progress.notices)
        progress.notices.clear()

    assert follow.follow(show).state is TrialState.DONE
    assert sum("the driver has lost its Ray" in notice for notice in notices) == MAX_LAUNCHES + 1


@pytest.mark.parametrize("kind", ["run", "launch"])
def test_the_lease_of_a_process_that_is_gone_is_not_waited_for(house: House, watch, kind: str) -> None:
    dead = house.ledger.acquire_lease(house.study.id, kind, gone_owner(), 1e6)
    follow = watch(lambda: FakeDriver(0, house.finish))
    assert follow.follow(lambda progress: None).state is TrialState.DONE
    if kind == "run":
        with pytest.raises(StaleFence):  # whatever of it might still write
            house.ledger.requeue_packs(house.study.id, None, dead.fence, "late")


@pytest.mark.parametrize(("kind", "said"), [("run", "runs this study for another"), ("launch", "is starting a driver")])
@pytest.mark.parametrize(
    ("owner", "who"),
    [(lease_owner(), f"process {os.getpid()}"), ("another-host:7:0", "another-host:7:0")],
    ids=["a process of this host", "another host"],
)
def test_whoever_is_waited_for_is_named_at_once(
    house: House, watch, kind: str, said: str, owner: str, who: str
) -> None:
    lease = house.ledger.acquire_lease(house.study.id, kind, owner, 25.0)
    follow, shown = watch(lambda: FakeDriver(0, house.finish)), []

    def show(progress: Progress) -> None:
        shown.append(list(progress.notices))
        progress.notices.clear()
        if len(shown) == 4:
            house.ledger.release_lease(house.study.id, kind, owner, lease.fence)

    follow.follow(show)
    (notice,) = [notice for notices in shown[:4] for notice in notices]
    assert f"waiting for {who}, which {said}" in notice
    assert re.search(r"its lease ends \(2\d s unless renewed\)", notice)


def test_the_answer_does_not_wait_for_the_publishing(house: House, watch) -> None:
    drivers: list[FakeDriver] = []

    def publishing() -> FakeDriver:
        drivers.append(FakeDriver(None, house.finish))
        return drivers[-1]

    follow, shown = watch(publishing), []
    assert follow.follow(lambda progress: None).state is TrialState.DONE
    assert drivers[0].poll() is None

    def show(progress: Progress) -> None:
        shown.append(progress.state)
        if len(shown) == 3:
            drivers[0]._status = 0

    follow.publish(show)
    assert shown == ["done"] * 3


def test_that_publishing_may_be_stopped_is_said_once(house: House, watch, tmp_path: Path) -> None:
    house.places = replace(house.places, tracking_uri=f"sqlite:///{tmp_path / 'mlflow.sqlite'}")
    driver = FakeDriver(None)

    def start() -> FakeDriver:
        house.finish()
        return driver

    follow, told = watch(start), []
    follow.follow(lambda progress: None)

    def show(progress: Progress) -> None:
        told.append(list(progress.notices))
        progress.notices.clear()
        driver._status = 0 if len(told) == 3 else None

    follow.publish(show)
    said = f"publishing to MLflow; Ctrl-C is safe: `warmup-bench sync {house.study.id[:8]}` goes on"
    assert told == [[said], [], []]


@pytest.fixture
def publishers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The studies whose publisher was started."""
    started: list[str] = []

    def start(study_id: str, places: Any, *, follow: bool) -> FakeDriver:
        assert not follow
        started.append(study_id)
        return FakeDriver(0)

    monkeypatch.setattr("service.running.start_publisher", start)
    return started


def test_a_done_study_is_published_where_something_is_missing(
    house: House, watch, publishers: list[str], tmp_path: Path
) -> None:
    house.finish()
    house.places = replace(house.places, tracking_uri=f"sqlite:///{tmp_path / 'mlflow.sqlite'}")
    watch().publish(lambda progress: None)
    assert publishers == [house.study.id], "its publisher was killed"
    fence = house.ledger.study(house.study.id).attempt
    house.ledger.record_publication(house.study.id, house.study.id, "run", 0, fence, is_final=True)
    watch().publish(lambda progress: None)
    assert publishers == [house.study.id] * 2, "the store is gone"
    (tmp_path / "mlflow.sqlite").write_bytes(b"")
    watch().publish(lambda progress: None)
    assert publishers == [house.study.id] * 2, "all is there"


def test_a_study_that_is_not_tracked_is_not_published(house: House, watch, publishers: list[str]) -> None:
    house.finish()
    watch().publish(lambda progress: None)
    assert publishers == []


def test_what_a_driver_could_not_publish_is_not_tried_again_at_once(house: House, watch, publishers: list[str]) -> None:
    house.places = replace(house.places, tracking_uri="http://127.0.0.1:9")
    follow = watch(lambda: FakeDriver(0, house.finish))
    follow.follow(lambda progress: None)
    follow.publish(lambda progress: None)
    assert publishers == []


def test_a_crowd_of_events_is_read_in_one_poll(house: House, watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.running.EVENTS_PER_READ", 2)
    house.finish()
    follow = watch()
    follow.follow(lambda progress: None)
    assert follow.progress.done == 8
    assert follow.progress.last_seq == house.ledger.last_event_seq(house.study.id)
