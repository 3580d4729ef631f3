"""The controller with drivers that are no processes: order, limit, adoption, relaunches, cancels, its own stop."""

import socket
import threading
import time
from pathlib import Path

import pytest

from schemas.errors import PlaceError, StaleFence
from schemas.trials import TrialState
from service.controller import Controller, ControllerSettings
from service.endings import Ending
from service.retrying import Patience
from tests.ledger.conftest import ledger, place  # noqa: F401  # fixtures
from tests.service.driving import Clock, FakeDriver, FakeLauncher, gone_owner, queued
from workers.holders import lease_owner
from workers.launcher import EXIT_DONE, EXIT_FAILED, EXIT_NOT_MINE, EXIT_RAY_LOST, EXIT_STOPPED
from workers.ledger.ledger import Ledger


class House:
    """A controller, and what it is given."""

    def __init__(self, ledger, **settings) -> None:  # noqa: F811
        self.ledger = ledger
        self.clock = Clock()
        self.launcher = FakeLauncher(ledger)
        values = {"max_running": 2, "launch_s": 30.0} | settings
        self.controller = Controller(ledger, self.launcher, ControllerSettings(**values), clock=self.clock)

    def round(self, *, after_s: float = 0.0) -> list[FakeDriver]:
        """Another round; the drivers that it has launched."""
        self.clock.now += after_s
        known = len(self.launcher.drivers)
        self.controller.run_once()
        return self.launcher.drivers[known:]

    def state(self, study_id):
        return self.ledger.study_head(study_id).state


@pytest.fixture
def house(ledger):  # noqa: F811
    return House(ledger)


def test_studies_are_launched_by_priority_then_age_up_to_the_limit(house):
    low, old, new = queued(house.ledger) + queued(house.ledger, 2, priority=5)
    first, second = house.round()
    assert [first.study_id, second.study_id] == [old, new]
    assert house.round() == [], "the limit"
    first.complete()
    (third,) = house.round()
    assert third.study_id == low
    assert house.state(old) == "done"


def test_a_study_that_another_one_drives_is_left_alone_and_counts(house):
    driven, waits, beyond = queued(house.ledger, 3)
    FakeDriver(house.ledger, driven).come_up()
    assert [driver.study_id for driver in house.round()] == [waits]
    assert house.round(after_s=1_000.0) == []
    assert house.state(beyond) == "queued"


def test_a_driver_of_an_earlier_service_is_adopted_and_replaced_when_it_dies(house):
    (study_id,) = queued(house.ledger)
    driver = FakeDriver(house.ledger, study_id).come_up(owner=lease_owner())
    house.launcher.adoptable[driver.owner] = driver
    assert house.round() == []
    assert house.controller.num_drivers == 1
    house.ledger.release_lease(study_id, "run", driver.owner, driver.fence)
    house.ledger.set_study_state(study_id, TrialState.QUEUED, reason="its Ray is lost", fence=driver.fence)
    driver.die(EXIT_RAY_LOST)
    house.round()
    (again,) = house.round(after_s=2.0)
    again.complete()
    assert house.state(study_id) == "done"


def test_a_driver_that_was_killed_is_replaced_at_once_and_writes_nothing_more(house):
    (study_id,) = queued(house.ledger)
    (driver,) = house.round()
    driver.come_up(owner=gone_owner())
    house.ledger.start_packs(study_id, driver.waiting(), driver.fence)
    driver.die()
    house.round()
    head = house.ledger.study_head(study_id)
    assert (head.state, head.reason, head.counts["queued"]) == ("queued", "its driver is gone", 2)
    with pytest.raises(StaleFence):
        house.ledger.start_packs(study_id, [], driver.fence)
    (again,) = house.round(after_s=2.0)
    again.complete()
    assert house.state(study_id) == "done"


def test_the_waits_between_launches_grow(house):
    queued(house.ledger)
    (first,) = house.round()
    first.die(EXIT_FAILED)
    assert house.round() == []
    (second,) = house.round(after_s=1.1)
    second.die(EXIT_FAILED)
    assert house.round() == []
    assert house.round(after_s=1.1) == []
    assert len(house.round(after_s=1.0)) == 1


WAITS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300)


def launched_until_given_up(house, study_id, status):
    """How often a study is launched whose every driver ends with that status, after WAITS and not before."""
    number = 0
    while house.state(study_id) != "errored":
        if number:
            assert house.round(after_s=WAITS[number - 1] - 0.5) == []
        (driver,) = house.round(after_s=0.6)
        number += 1
        driver.come_up(owner=gone_owner())
        driver.die(status)
        house.round()
    return number


def test_a_study_that_fails_by_itself_is_given_up_soon_with_a_sentence_and_the_place_of_the_log(house):
    (study_id,) = queued(house.ledger)
    assert launched_until_given_up(house, study_id, EXIT_FAILED) == 3
    assert house.ledger.study_head(study_id).reason == (
        "3 launches in a row brought it no further; the last time, the driver ended with status"
        f" {EXIT_FAILED}. Its log, on {socket.gethostname()}: /home/logs/driver.log"
    )
    house.round()
    assert house.launcher.published == [study_id]
    assert house.round(after_s=1_000.0) == []


@pytest.mark.parametrize(
    ("status", "said"),
    [(-9, "killed (signal 9)"), (EXIT_RAY_LOST, "lost its Ray"), (EXIT_STOPPED, "ended before its study")],
)
def test_what_the_machine_did_is_tried_again_for_long_with_waits_up_to_a_limit(house, status, said):
    (study_id,) = queued(house.ledger)
    assert launched_until_given_up(house, study_id, status) == len(WAITS) + 1
    reason = house.ledger.study_head(study_id).reason
    assert reason.startswith("12 launches in a row")
    assert said in reason


def test_failures_and_faults_are_counted_apart(house):
    (study_id,) = queued(house.ledger)
    for status in (EXIT_FAILED, -9, -9, EXIT_FAILED, -9):
        (driver,) = house.round(after_s=1_000.0)
        driver.come_up(owner=gone_owner())
        driver.die(status)
        house.round()
    assert house.state(study_id) == "queued"
    (driver,) = house.round(after_s=1_000.0)
    driver.die(EXIT_FAILED)
    house.round()
    assert house.ledger.study_head(study_id).reason.startswith("6 launches in a row")


def test_a_launch_that_got_further_begins_the_count_and_the_waits_anew(house):
    (study_id,) = queued(house.ledger)
    for _ in range(2):
        (driver,) = house.round(after_s=1_000.0)
        driver.die(EXIT_FAILED)
        house.round()
    (driver,) = house.round(after_s=1_000.0)
    driver.come_up(owner=gone_owner())
    driver.train(1)
    driver.die(EXIT_FAILED)
    house.round()
    assert house.state(study_id) == "queued"
    assert len(house.round(after_s=1.1)) == 1, "as after a first launch"


def test_how_a_launch_ended_tells_whose_fault_it_was():
    def is_fault(status):
        return Ending.of(status, Path("log")).is_fault

    assert all(is_fault(status) for status in (-6, -9, -11, -15, EXIT_RAY_LOST, EXIT_STOPPED, EXIT_DONE))
    assert not any(is_fault(status) for status in (EXIT_FAILED, 1, 134))


def test_a_done_study_whose_tracker_is_behind_is_published_on_after_its_driver_has_ended(house):
    (study_id,) = queued(house.ledger)
    (driver,) = house.round()
    driver.complete()
    house.ledger.set_publishing(study_id, "behind")
    house.round()
    assert house.launcher.published == [study_id]
    house.round()
    assert house.launcher.published == [study_id]


def behind(ledger, number):  # noqa: F811
    """Studies that are done, and whose drivers have waited for the tracker in vain."""
    studies = queued(ledger, number)
    for study_id in studies:
        FakeDriver(ledger, study_id).complete()
        ledger.set_publishing(study_id, "behind", reason="it is down")
    return studies


def test_what_an_earlier_service_left_unpublished_is_published_one_study_after_the_other(house):
    first, second = behind(house.ledger, 2)
    for _ in range(2):
        house.round(after_s=1.0)
    assert house.launcher.published == [first]
    house.ledger.set_publishing(first, "current")
    house.launcher.publishers[-1].status = 0
    for _ in range(2):
        house.round(after_s=1.0)
    assert house.launcher.published == [first, second]


def test_what_is_unpublished_waits_while_the_queue_leaves_no_room(ledger):  # noqa: F811
    house = House(ledger, max_running=1)
    (left,) = behind(ledger, 1)
    queued(ledger)
    (driver,) = house.round()
    house.round(after_s=100.0)
    assert house.launcher.published == []
    driver.complete()
    for _ in range(2):
        house.round(after_s=20.0)
    assert house.launcher.published == [left]


def test_a_tracker_that_stays_down_is_asked_less_and_less_and_one_study_holds_up_no_other(house):
    first, second = behind(house.ledger, 2)
    asked = []
    for _ in range(60):  # half an hour
        house.round(after_s=30.0)
        if house.launcher.publishers and house.launcher.publishers[-1].status is None:
            asked.append(house.launcher.published[-1])
            house.launcher.publishers[-1].status = 3
    assert asked[:4] == [first, second, first, second]
    assert 6 <= len(asked) <= 10


def test_two_controllers_never_publish_one_study_at_once_and_one_that_died_is_succeeded(house):
    (study_id,) = behind(house.ledger, 1)
    other = House(house.ledger)
    house.round()
    for _ in range(3):
        other.round(after_s=20.0)
    assert (house.launcher.published, other.launcher.published) == ([study_id], [])
    lease = house.ledger.lease(study_id, "publish")
    house.ledger.release_lease(study_id, "publish", lease.owner, lease.fence)
    house.ledger.acquire_lease(study_id, "publish", gone_owner(), 1_000.0)
    other.round(after_s=20.0)
    assert other.launcher.published == [study_id]


def test_a_publisher_keeps_its_lease_and_a_stop_gives_it_back(house):
    (study_id,) = behind(house.ledger, 1)
    house.round()
    before = house.ledger.lease(study_id, "publish").expires_at
    time.sleep(0.01)
    house.round(after_s=11.0)
    assert house.ledger.lease(study_id, "publish").expires_at > before
    house.controller.stop()
    assert not house.ledger.lease(study_id, "publish").is_fresh


def test_a_study_that_is_published_may_be_run_on(house):
    (study_id,) = behind(house.ledger, 1)
    house.round()
    with house.ledger.write_study(study_id) as work:
        work.change(state=TrialState.QUEUED)
    assert [driver.study_id for driver in house.round()] == [study_id]


def test_without_a_tracker_nothing_is_published_and_nothing_held(house):
    (study_id,) = behind(house.ledger, 1)
    house.launcher.has_tracker = False
    for _ in range(3):
        house.round(after_s=20.0)
    assert not house.ledger.lease(study_id, "publish").is_fresh


def test_a_study_that_gets_further_each_time_is_launched_again_and_again(ledger):  # noqa: F811
    house = House(ledger, patience=Patience(max_faults=2))
    (study_id,) = queued(ledger)
    for _ in range(2):
        (driver,) = house.round(after_s=100.0)
        driver.come_up(owner=gone_owner())
        driver.train(1)
        driver.die()
        house.round()
    (driver,) = house.round(after_s=100.0)
    driver.complete()
    assert house.state(study_id) == "done"


def test_a_driver_that_cannot_be_started_is_tried_again_and_given_up_with_the_reason(ledger):  # noqa: F811
    house = House(ledger, patience=Patience(max_faults=3))
    (study_id,) = queued(house.ledger)
    house.launcher.cannot = OSError(12, "Cannot allocate memory")
    house.round()
    assert house.ledger.num_running() == 0, "its launch lease is free"
    for _ in range(2):
        house.round(after_s=100.0)
    head = house.ledger.study_head(study_id)
    assert head.state == "errored"
    assert "Cannot allocate memory" in head.reason


def test_a_driver_that_came_second_is_no_failure(house):
    (study_id,) = queued(house.ledger)
    (driver,) = house.round()
    first = FakeDriver(house.ledger, study_id).come_up()
    driver.die(EXIT_NOT_MINE)
    first.ask_to_stop()
    assert len(house.round()) == 1, "nothing has to be waited for"


def test_a_driver_that_comes_up_slowly_keeps_its_launch_and_one_that_never_does_is_killed(house):
    (study_id,) = queued(house.ledger)
    (driver,) = house.round()
    lease = house.ledger.lease(study_id, "launch")
    time.sleep(0.05)
    house.round(after_s=60.0)
    assert house.ledger.lease(study_id, "launch").expires_at > lease.expires_at
    assert not driver.is_killed
    house.round(after_s=61.0)
    assert driver.is_killed
    house.round()
    assert len(house.round(after_s=2.0)) == 1


def test_a_study_that_was_cancelled_while_it_was_launched_stays_cancelled(house):
    (study_id,) = queued(house.ledger)
    (driver,) = house.round()
    house.ledger.request_cancel(study_id)
    assert house.state(study_id) == "cancelled"
    driver.die(0)  # a driver that finds its study final ends
    assert house.round(after_s=100.0) == []
    assert house.state(study_id) == "cancelled"


def test_a_cancelled_study_whose_driver_is_gone_is_cancelled_by_the_controller_and_keeps_what_is_done(house):
    (study_id,) = queued(house.ledger)
    (driver,) = house.round()
    driver.come_up(owner=gone_owner())
    driver.train(1)
    driver.die()
    house.ledger.request_cancel(study_id)
    house.round()
    head = house.ledger.study_head(study_id)
    assert (head.state, head.counts["done"], head.counts["cancelled"]) == ("cancelled", 1, 1)
    assert house.launcher.published == [study_id]
    house.ledger.request_cancel(study_id)
    assert house.round(after_s=100.0) == []


def test_a_driver_that_does_not_obey_a_cancel_is_killed_within_ten_seconds(house):
    (study_id,) = queued(house.ledger)
    (driver,) = house.round()
    driver.come_up()
    house.ledger.request_cancel(study_id)
    house.round()
    house.round(after_s=7.0)
    assert not driver.is_killed
    house.round(after_s=2.0)
    assert driver.is_killed
    house.round()
    assert house.state(study_id) == "cancelled"


def test_a_study_that_is_written_up_is_not_killed_by_a_cancel(house):
    (study_id,) = queued(house.ledger)
    (driver,) = house.round()
    driver.come_up()
    driver.train()
    house.ledger.request_cancel(study_id)
    house.round()
    house.round(after_s=60.0)
    assert not driver.is_killed


def test_a_study_of_a_host_that_nobody_can_ask_is_taken_over_one_lease_time_after_the_start(house):
    (study_id,) = queued(house.ledger)
    driver = FakeDriver(house.ledger, study_id).come_up()
    house.ledger.release_lease(study_id, "run", driver.owner, driver.fence)  # its last heartbeat is long ago
    assert house.round(after_s=29.0) == []
    assert house.state(study_id) == "running"
    (again,) = house.round(after_s=2.0)
    assert again.study_id == study_id


def test_nothing_is_launched_for_one_lease_time_after_the_ledger_was_out_of_reach(house, monkeypatch):
    queued(house.ledger)

    def out_of_reach(*_):
        raise PlaceError("the ledger is out of reach")

    with monkeypatch.context() as patch:
        patch.setattr(type(house.ledger), "held_leases", out_of_reach)
        with pytest.raises(PlaceError):
            house.round()
    assert house.round() == []
    assert house.round(after_s=29.0) == []
    assert len(house.round(after_s=2.0)) == 1


def test_a_stop_lets_drivers_save_and_leaves_everything_to_the_next_controller(house):
    first, second = queued(house.ledger, 2)
    for driver in house.round():
        driver.come_up()
    house.launcher.drivers[0].train(1)
    house.controller.stop()
    assert [driver.status for driver in house.launcher.drivers] == [EXIT_STOPPED] * 2
    assert house.launcher.is_stopped
    assert [house.state(first), house.state(second)] == ["queued", "queued"]
    following = House(house.ledger)
    for driver in following.round():
        driver.complete()
    assert [house.state(first), house.state(second)] == ["done", "done"]


def test_a_driver_that_does_not_stop_is_killed_and_its_study_queued(ledger):  # noqa: F811
    house = House(ledger, stop_s=0.0)
    (study_id,) = queued(ledger)
    (driver,) = house.round()
    driver.come_up().obeys = False
    house.controller.stop()
    assert driver.is_killed
    assert house.state(study_id) == "queued"


def test_the_thread_of_a_controller_survives_whatever_a_round_raises_and_ends_when_asked(ledger, monkeypatch):  # noqa: F811
    launcher = FakeLauncher(ledger)
    controller = Controller(ledger, launcher, ControllerSettings(poll_s=0.01))
    errors = [PlaceError("gone"), RuntimeError("a slip"), None]

    def round_() -> None:
        error = errors.pop(0) if len(errors) > 1 else None
        if error is not None:
            raise error
        controller.stop_soon()

    monkeypatch.setattr(controller, "run_once", round_)
    thread = threading.Thread(target=controller.run)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    assert launcher.is_stopped


class DiesMidLaunch(FakeLauncher):
    """Its controller dies between the launch lease and the driver's start."""

    def start(self, study_id):
        raise SystemExit


def test_controllers_that_share_a_ledger_run_every_study_once_though_one_dies_mid_launch(place):  # noqa: F811
    settings = ControllerSettings(max_running=3, launch_s=1.0, poll_s=0.01)
    with Ledger.open(place) as shared:
        studies = queued(shared, 12)
        dying = Controller(shared, DiesMidLaunch(shared), settings)
        dying.owner = f"elsewhere:1:{socket.gethostname()}"  # nobody here can tell that it is dead
        with pytest.raises(SystemExit):
            dying.run_once()
        most, launched = 0, []
        with Ledger.open(place) as one, Ledger.open(place) as other:
            launchers = [FakeLauncher(one), FakeLauncher(other)]
            controllers = [Controller(each.ledger, each, settings) for each in launchers]
            barrier = threading.Barrier(2)

            def reconcile(number: int) -> None:
                nonlocal most
                deadline = time.monotonic() + 60
                while time.monotonic() < deadline:
                    barrier.wait(60)
                    controllers[number].run_once()
                    barrier.wait(60)
                    if number == 0:
                        most = max(most, shared.num_running())
                    for driver in launchers[number].drivers:
                        if driver.status is None:
                            driver.complete()
                    barrier.wait(60)
                    if shared.studies_by_state()["done"] == len(studies):
                        return

            threads = [threading.Thread(target=reconcile, args=[number]) for number in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(90)
            launched = launchers[0].launched + launchers[1].launched
        assert sorted(launched) == sorted(studies)
        assert most <= 3
        assert {shared.study_head(study_id).state for study_id in studies} == {"done"}
