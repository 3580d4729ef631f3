"""A controller whose drivers are jobs of a cluster: none lost, none run twice, whatever the cluster does or says."""

import httpx
import pytest

from service.controller import Controller, ControllerSettings
from service.endings import CANNOT_BEGIN, JOB_GONE, JOB_LOST, NOT_STARTED
from service.ray_address import RayAddress
from service.ray_jobs import RayJobs
from service.ray_launching import JobsLauncher
from tests.service.driving import Clock, FakeDriver, queued
from tests.service.fake_jobs_api import TOKEN, FakeCluster, FakeJob
from workers.launcher import EXIT_FAILED, EXIT_NO_CLUSTER, EXIT_NO_PLACE, EXIT_NOT_MINE, EXIT_RAY_LOST, EXIT_STOPPED
from workers.ledger.ledger import Ledger
from workers.places import Places

AWAY = httpx.ConnectError("[Errno 111] Connection refused")


class House:
    """A ledger, a cluster, and a controller that may be replaced."""

    def __init__(self, ledger, tmp_path) -> None:
        self.ledger, self.cluster, self.clock = ledger, FakeCluster(), Clock()
        self.places = Places.resolve(home=str(tmp_path / "home"), tracking_uri="none", environment={})
        self.controller = self.new_controller()
        self.drivers: dict[str, FakeDriver] = {}

    def new_controller(self) -> Controller:
        jobs = RayJobs(RayAddress("http://ray-head:8265", token_value=TOKEN), self.clock, self.cluster.transport())
        self.launcher = JobsLauncher(jobs, self.places, lambda study: self.ledger.study_head(study).attempt, self.clock)
        settings = ControllerSettings(max_running=2, launch_s=30.0, start_s=600.0)
        return Controller(self.ledger, self.launcher, settings, clock=self.clock)

    def round(self, *, after_s: float = 2.5) -> None:
        self.clock.now += after_s
        self.controller.run_once()

    def job(self, study_id: str) -> FakeJob:
        """The study's newest."""
        return self.cluster.jobs[self.cluster.of(study_id)[-1]]

    def come_up(self, study_id: str) -> FakeDriver:
        """The newest job gets its room, and its driver the run lease."""
        self.job(study_id).status = "RUNNING"
        self.drivers[study_id] = FakeDriver(self.ledger, study_id).come_up()
        return self.drivers[study_id]

    def lose_lease(self, study_id: str) -> None:
        """Its time runs out."""
        lease = self.ledger.lease(study_id, "run")
        self.ledger.release_lease(study_id, "run", lease.owner, lease.fence)

    def head(self, study_id: str):
        return self.ledger.study_head(study_id)


@pytest.fixture
def house(tmp_path):
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        yield House(ledger, tmp_path)


@pytest.fixture
def running(house):
    """A study that runs on the cluster."""
    (study_id,) = queued(house.ledger)
    house.round()
    house.come_up(study_id)
    house.round()
    return study_id


def test_a_study_becomes_a_job_that_holds_its_id_alone_and_runs_beside_no_head(house):
    (study_id,) = queued(house.ledger)
    house.round()
    assert house.cluster.of(study_id) == [f"study-{study_id}-a1"]
    assert house.job(study_id).request == {
        "submission_id": f"study-{study_id}-a1",
        "entrypoint": f"python -P -m workers.cluster --study {study_id} --cluster",
        "entrypoint_num_cpus": 0,
        "entrypoint_resources": {"warmup_driver": 1},
    }
    house.come_up(study_id)
    house.round()
    house.drivers[study_id].train()
    house.ledger.set_study_state(study_id, "done", fence=1)
    house.drivers[study_id].end()
    house.job(study_id).end("SUCCEEDED", 0)
    house.round()
    assert (house.head(study_id).state, house.controller.num_drivers) == ("done", 0)
    assert len(house.cluster.jobs) == 1


def test_a_submission_whose_answer_was_lost_is_found_and_not_made_twice(house):
    queued(house.ledger)
    house.cluster.loses_answers = True
    house.round()
    assert (house.controller.num_drivers, len(house.cluster.jobs)) == (0, 1)
    house.cluster.loses_answers = False
    house.round(after_s=6.0)
    assert (house.controller.num_drivers, len(house.cluster.jobs)) == (1, 1)


def test_a_controller_that_died_between_job_and_driver_is_succeeded_by_one_that_finds_the_job(house):
    (study_id,) = queued(house.ledger)
    house.round()
    launch = house.ledger.lease(study_id, "launch")
    house.ledger.release_lease(study_id, "launch", launch.owner, launch.fence)  # as if its time had run out
    house.controller = house.new_controller()
    house.round()
    assert (house.controller.num_drivers, len(house.cluster.jobs)) == (1, 1)


def test_a_controller_that_stops_leaves_its_drivers_running_and_the_next_one_adopts_them(house, running):
    (waits,) = queued(house.ledger)
    house.round()
    house.controller.stop()
    assert [job.num_stops for job in house.cluster.jobs.values()] == [0, 0]
    assert house.head(running).state == "running"
    assert not house.ledger.lease(waits, "launch").is_fresh, "whoever comes next need not wait"
    house.controller = house.new_controller()
    house.round()
    assert (house.controller.num_drivers, len(house.cluster.jobs)) == (2, 2)
    house.ledger.request_cancel(running)
    house.round()
    house.round(after_s=9.0)
    assert house.job(running).status == "STOPPED", "what was adopted can be ended"


def test_what_runs_is_adopted_once_the_cluster_answers_again(house, running):
    house.controller.stop()
    house.controller = house.new_controller()
    house.cluster.broken = AWAY
    house.round()
    assert house.controller.num_drivers == 0
    house.cluster.broken = None
    house.round()
    assert (house.controller.num_drivers, len(house.cluster.jobs)) == (1, 1)


def test_a_driver_of_another_kind_is_left_alone(house):
    (study_id,) = queued(house.ledger)
    FakeDriver(house.ledger, study_id).come_up()
    house.round()
    assert house.controller.num_drivers == 0
    num_asked = len(house.cluster.asked)
    house.round()
    assert len(house.cluster.asked) == num_asked


@pytest.mark.parametrize("broken", [AWAY, httpx.ReadTimeout("slow"), (503, ""), (500, "Internal"), (403, "Forbidden")])
def test_a_cluster_that_cannot_be_asked_has_ended_nothing(house, running, broken):
    house.cluster.broken = broken
    for _ in range(20):
        house.round(after_s=100.0)
    assert (house.head(running).state, house.controller.num_drivers) == ("running", 1)
    house.cluster.broken = None
    house.round(after_s=20.0)
    assert (house.head(running).attempt, len(house.cluster.jobs)) == (1, 1)


def test_studies_wait_with_a_reason_while_the_cluster_is_away_and_none_is_given_up(house):
    first, second, third = queued(house.ledger, 3)
    house.cluster.broken = AWAY
    for _ in range(30):
        house.round(after_s=600.0)
    assert {house.head(study).state for study in (first, second, third)} == {"queued"}
    said = "waits: the Ray cluster cannot be reached; the study goes on by itself when that is over"
    assert {house.head(study).reason for study in (first, second, third)} == {said}
    (late,) = queued(house.ledger)
    house.round(after_s=60.0)
    assert house.head(late).reason == said
    assert house.ledger.num_running() == 0
    house.cluster.broken = None
    house.round(after_s=60.0)
    assert sorted(house.cluster.jobs) == sorted(f"study-{study}-a1" for study in (first, second))
    assert house.head(third).reason == ""


def test_a_reason_that_a_controller_before_has_left_is_taken_back(house):
    *_, third = queued(house.ledger, 3)
    house.cluster.broken = AWAY
    house.round()
    house.controller = house.new_controller()
    house.cluster.broken = None
    house.round(after_s=30.0)
    assert house.head(third).reason == ""


def test_a_token_that_was_changed_on_the_cluster_makes_studies_wait_and_not_fail(house):
    (study_id,) = queued(house.ledger)
    house.cluster.token = "a new one"
    house.round()
    head = house.head(study_id)
    assert (head.state, head.reason.startswith("waits: the Ray cluster and this service do not fit")) == (
        "queued",
        True,
    )


def test_one_failure_a_round_is_all_that_a_cluster_which_hangs_can_cost(house):
    for study_id in queued(house.ledger, 2):
        house.round()
        house.come_up(study_id)
        house.round()
    queued(house.ledger)
    house.cluster.broken = httpx.ReadTimeout("slow")
    before = len(house.cluster.asked)
    house.round(after_s=100.0)
    assert len(house.cluster.asked) == before + 1


def test_a_study_whose_job_the_cluster_has_forgotten_waits_for_the_lease_and_is_launched_again(house, running):
    house.cluster.replace_head()
    for _ in range(5):
        house.round(after_s=20.0)
    assert (house.cluster.jobs, house.head(running).state) == ({}, "running"), "its driver may live"
    house.lose_lease(running)
    house.round()
    assert house.cluster.of(running) == [f"study-{running}-a3"], "a fence above that of the driver before"
    house.come_up(running)
    house.round()
    assert house.controller.num_drivers == 1


def test_a_job_that_ended_without_the_run_lease_leaves_its_attempt_to_the_next(house):
    (study_id,) = queued(house.ledger)
    for number in range(3):
        house.round(after_s=30.0)
        assert len(house.cluster.of(study_id)) == number + 1
        house.job(study_id).end("FAILED", EXIT_NO_PLACE)
        house.round()
    house.round(after_s=30.0)
    assert house.cluster.of(study_id) == [f"study-{study_id}-a1{suffix}" for suffix in ("", ".1", ".2", ".3")]


def test_a_study_that_has_waited_for_days_is_launched_and_keeps_no_other_from_it(house):
    (study_id,) = queued(house.ledger)
    for number in range(1_005):
        name = f"study-{study_id}-a1" + (f".{number}" if number else "")
        house.cluster.jobs[name] = FakeJob({"entrypoint": ""}, "FAILED", EXIT_NO_PLACE)
    house.round()
    assert house.cluster.of(study_id)[-1] == f"study-{study_id}-a1.1005"
    house.job(study_id).end("FAILED", EXIT_NO_PLACE)
    house.round()
    asked = len(house.cluster.asked)
    house.round(after_s=30.0)
    assert house.cluster.of(study_id)[-1] == f"study-{study_id}-a1.1006"
    assert len(house.cluster.asked) - asked <= 5, "those that have ended are not gone through again"
    house.job(study_id).end("FAILED", EXIT_NO_PLACE)
    house.round()
    house.cluster.replace_head()
    house.round(after_s=60.0)
    assert house.cluster.of(study_id) == [f"study-{study_id}-a1"], "where the next controller looks for it"


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (EXIT_NO_PLACE, "the ledger or the place of the records could not be used"),
        (EXIT_NO_CLUSTER, "the cluster did not take the driver (check the token"),
        # no such module; `-P` to a Python before 3.11; no `python` at all
        (1, "the node that the driver was sent to could not begin with it (check that `python`"),
        (2, "the node that the driver was sent to could not begin with it"),
        (127, "the node that the driver was sent to could not begin with it"),
    ],
)
def test_a_study_waits_for_what_cannot_be_used_however_often_it_was_tried_and_says_so(house, status, said):
    (study_id,) = queued(house.ledger)
    for _ in range(15):
        house.round(after_s=301.0)
        house.job(study_id).end("FAILED", status)
        house.round()
    head = house.head(study_id)
    assert (head.state, len(house.cluster.of(study_id))) == ("queued", 15)
    assert head.reason.startswith(said)
    house.round(after_s=301.0)
    house.come_up(study_id)
    house.round()
    assert (house.head(study_id).state, house.controller.num_drivers) == ("running", 1)


def test_a_driver_that_says_it_failed_is_given_up_with_the_command_that_shows_its_log(house):
    (study_id,) = queued(house.ledger)
    for _ in range(3):
        house.round(after_s=30.0)
        house.come_up(study_id).end(EXIT_FAILED)
        house.job(study_id).end("FAILED", EXIT_FAILED)
        house.round()
    head = house.head(study_id)
    assert head.state == "errored"
    assert head.reason.endswith(f"Its log: warmup-bench logs {study_id}")


@pytest.mark.parametrize(
    ("ended", "status"),
    [
        (("SUCCEEDED", 0), 0),
        (("FAILED", EXIT_FAILED), CANNOT_BEGIN),
        (("FAILED", EXIT_RAY_LOST), EXIT_RAY_LOST),
        (("FAILED", EXIT_NOT_MINE), EXIT_NOT_MINE),
        (("FAILED", 137), -9),
        (("FAILED", -9), -9),
        (("STOPPED",), EXIT_STOPPED),
        (("FAILED", None, "JOB_SUPERVISOR_ACTOR_START_TIMEOUT"), NOT_STARTED),
        (("FAILED", None, "JOB_SUPERVISOR_ACTOR_DIED"), JOB_LOST),
        (("FAILED", None, "RUNTIME_ENV_SETUP_FAILURE"), JOB_LOST),
    ],
)
def test_how_a_job_ended_is_how_its_driver_ended(house, ended, status):
    (study_id,) = queued(house.ledger)
    driver = house.launcher.start(study_id)
    house.job(study_id).end(*ended)
    house.clock.now += 2.5
    assert driver.poll() == status
    house.cluster.replace_head()
    house.clock.now += 2.5
    assert driver.poll() == status, "it stays so"


def test_a_job_of_a_head_that_was_replaced_is_gone(house):
    (study_id,) = queued(house.ledger)
    driver = house.launcher.start(study_id)
    house.cluster.replace_head()
    house.clock.now += 2.5
    assert driver.poll() == JOB_GONE


def test_a_driver_for_whom_there_is_no_room_in_time_gives_others_their_turn_and_is_never_given_up(house):
    first, second = queued(house.ledger, 2)
    (third,) = queued(house.ledger)
    house.round()
    for _ in range(30):  # ten minutes, with the launch lease kept
        house.round(after_s=19.0)
    assert house.cluster.of(third) == []
    house.round(after_s=60.0)
    assert house.job(first).num_stops == 1
    house.round()
    head = house.head(first)
    assert (head.state, head.reason) == (
        "queued",
        "the cluster had no room for its driver within 600 s; it is tried again",
    )
    assert house.cluster.of(third), "its turn"
    for _ in range(20):
        house.round(after_s=601.0)
    assert {house.head(study).state for study in (first, second, third)} == {"queued"}
    assert len(house.cluster.of(first)) > 3, "another job each time, as the one before is to be stopped"


@pytest.mark.parametrize(("status", "left"), [("PENDING", "PENDING"), ("RUNNING", "STOPPED")])
def test_a_job_that_has_no_driver_yet_is_taken_back_when_its_study_is_cancelled(house, status, left):
    (study_id,) = queued(house.ledger)
    house.round()
    house.job(study_id).status = status
    house.ledger.request_cancel(study_id)
    house.round()
    house.round()
    assert (house.head(study_id).state, house.job(study_id).num_stops) == ("cancelled", 1)
    assert house.controller.num_drivers == 0
    house.round(after_s=1_000.0)
    assert [job.status for job in house.cluster.jobs.values()] == [left]


def test_a_driver_that_does_not_obey_a_cancel_is_ended_though_the_cluster_was_away_at_first(house, running):
    house.ledger.request_cancel(running)
    house.cluster.broken = AWAY
    house.round()
    house.round(after_s=9.0)
    house.cluster.broken = None
    house.round(after_s=20.0)
    assert house.job(running).status == "STOPPED"
    house.lose_lease(running)
    house.round()
    assert house.head(running).state == "cancelled"
    assert len(house.cluster.jobs) == 1


def test_a_head_that_is_replaced_again_and_again_makes_no_study_fail(house):
    (study_id,) = queued(house.ledger)
    for _ in range(20):
        house.round(after_s=10.0)
        assert house.cluster.of(study_id) == [f"study-{study_id}-a1"]
        house.cluster.replace_head()
        house.round()
    assert (house.head(study_id).state, house.ledger.num_running()) == ("queued", 0)
