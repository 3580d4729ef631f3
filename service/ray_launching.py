"""Drivers of a service on a Ray cluster: each is a Ray Job, started and asked after through the Jobs API.

A job's id says which attempt at the study it is, so that to submit it twice is to submit it once, and so that whoever
comes next finds it. What a job needs to know beside its study stands in files on the cluster's nodes: everybody who
reaches the Jobs API may read what was submitted.
"""

import shlex
from collections.abc import Callable, Sequence
from itertools import count

import structlog

from schemas.problems import escaped
from service.endings import CANNOT_BEGIN, JOB_GONE, JOB_LOST, NOT_STARTED
from service.launched import LaunchedPublisher, LauncherAway
from service.launching import Publishers
from service.ray_jobs import Job, RayJobs
from workers.launcher import EXIT_DONE, EXIT_FAILED, EXIT_STOPPED
from workers.ledger.rows import LeaseRow
from workers.places import Places

log = structlog.get_logger("warmup_bench.controller")

DRIVER_RESOURCE = "warmup_driver"
"""What nodes have that drivers may run on: not the head, beside the cluster's own records."""
ASK_EVERY_S = 2.0
"""How often one job is asked after."""
STOP_AGAIN_S = 15.0
"""A job that was asked to end and has not is asked again."""
RAISED = 3
"""Attempts that are looked through: a cancel, or a study that is run on, raises the number while a job waits."""
TAIL_LINES = 20
SIGNALLED = 128
"""A shell's exit status for a command that a signal has ended, less the signal's number."""
_NOT_BEGUN = frozenset({1, EXIT_FAILED, 126, 127})
"""How a command ends that a shell cannot run, that is no module of its Python, or whose flags an older Python does not
know. It is the study's own failure only where the driver had taken the run lease, which raises the attempt."""
_NO_ROOM = frozenset({"JOB_SUPERVISOR_ACTOR_START_TIMEOUT", "JOB_SUPERVISOR_ACTOR_UNSCHEDULABLE"})


class JobDriver:
    """One job."""

    def __init__(
        self,
        jobs: RayJobs,
        study_id: str,
        submission_id: str,
        clock: Callable[[], float],
        given_up: set[str],
        has_begun: Callable[[], bool],
    ) -> None:
        self.submission_id = submission_id
        self._given_up, self._has_begun = given_up, has_begun
        self.log = f"warmup-bench logs {study_id}"
        self._jobs, self._clock = jobs, clock
        self._status: int | None = None
        self._asks_from = clock()
        self._is_unwanted = False
        self._stops_from = clock()

    def poll(self) -> int | None:
        """As LaunchedDriver.poll. A cluster that does not answer has not ended anything."""
        if self._status is None and self._clock() >= self._asks_from:
            self._asks_from = self._clock() + ASK_EVERY_S
            try:
                self._look()
            except LauncherAway as error:
                log.debug("nobody can tell about a driver", job=self.submission_id, error=str(error))
        return self._status

    def ask_to_stop(self) -> None:
        """Nothing: a driver on the cluster runs on when its controller stops, and reads a cancel in the ledger."""

    def kill(self) -> None:
        """End it: within seconds where it runs. Where it waits for room, it is given up, and ends when it gets some."""
        self._is_unwanted = True
        self._asks_from = self._clock()
        self.poll()

    def _look(self) -> None:
        job = self._jobs.job(self.submission_id)
        if job is None:
            log.warning("the cluster does not know a driver any more", job=self.submission_id)
            self._status = JOB_GONE
        elif job.is_over:
            status = _status(job)
            self._status = status if status not in _NOT_BEGUN or self._has_begun() else CANNOT_BEGIN
            _say_how(job)
        elif self._is_unwanted and self._clock() >= self._stops_from:
            self._jobs.stop(self.submission_id)
            self._stops_from = self._clock() + STOP_AGAIN_S
            if job.status == "PENDING":  # Ray stops it once there is room, however long that takes
                self._given_up.add(self.submission_id)
                self._status = NOT_STARTED


class JobsLauncher:
    """Starts drivers on one cluster. Used by one thread.

    Args:
        attempt_of: the newest attempt at a study, by the ledger.
    """

    outlived = True

    def __init__(
        self, jobs: RayJobs, places: Places, attempt_of: Callable[[str], int], clock: Callable[[], float]
    ) -> None:
        self._jobs, self._attempt_of, self._clock = jobs, attempt_of, clock
        self._publishers = Publishers(places)
        self._given_up: set[str] = set()
        self._ended: dict[str, tuple[int, int]] = {}
        """Of a study, the attempt and how many jobs of it have ended: those are not gone through at each launch."""

    def begin(self, held: Sequence[LeaseRow]) -> None:
        """Nothing: what runs is found by its lease, what waits by its id."""

    def start(self, study_id: str) -> JobDriver:
        """The job of the study's next attempt: one that was submitted before, if it has not ended, or a new one.

        Raises:
            LauncherAway: it may have been submitted all the same, and is found then.
        """
        attempt = self._attempt_of(study_id) + 1
        number = self._num_ended(study_id, attempt)
        while True:
            submission_id = _id(study_id, attempt, number)
            if self._jobs.submit(submission_id, _entrypoint(study_id), {DRIVER_RESOURCE: 1}):
                return self._driver(study_id, attempt, submission_id)
            job = self._jobs.job(submission_id)
            if job is not None and not job.is_over and submission_id not in self._given_up:
                log.info("found the driver that was submitted before", study_id=study_id, job=submission_id)
                return self._driver(study_id, attempt, submission_id)
            number += 1
            self._ended[study_id] = (attempt, number)

    def _num_ended(self, study_id: str, attempt: int) -> int:
        of, number = self._ended.pop(study_id, (attempt, 0))
        if of != attempt or number == 0:
            return 0
        # A head that was replaced knows none of them, and who looks for a driver there begins at the first.
        if self._jobs.job(_id(study_id, attempt, number - 1)) is None:
            return 0
        self._ended[study_id] = (attempt, number)
        return number

    def adopt(self, lease: LeaseRow) -> JobDriver | None:
        """As Launcher.adopt: the job that runs under the lease's attempt, or under one that was raised meanwhile."""
        for attempt in range(lease.fence, max(0, lease.fence - RAISED), -1):
            for number in count():
                submission_id = _id(lease.study_id, attempt, number)
                job = self._jobs.job(submission_id)
                if job is None:
                    break
                if job.status == "RUNNING":
                    return self._driver(lease.study_id, attempt, submission_id)
        return None

    def publish(self, study_id: str) -> LaunchedPublisher | None:
        """As Launcher.publish: on this machine, beside the controller."""
        return self._publishers.start(study_id)

    def rest(self) -> None:
        """Nothing: the cluster is not ours."""

    def stop(self) -> None:
        """Drivers run on."""
        self._publishers.stop()
        self._jobs.close()

    def _driver(self, study_id: str, attempt: int, submission_id: str) -> JobDriver:
        def has_begun() -> bool:
            return self._attempt_of(study_id) >= attempt

        return JobDriver(self._jobs, study_id, submission_id, self._clock, self._given_up, has_begun)


def _id(study_id: str, attempt: int, number: int) -> str:
    """Of the attempt's jobs: one that has ended without the run lease leaves the attempt to the next one."""
    return f"study-{study_id}-a{attempt}" + (f".{number}" if number else "")


def _entrypoint(study_id: str) -> str:
    """Ray gives it to a shell."""
    return shlex.join(["python", "-P", "-m", "workers.cluster", "--study", study_id, "--cluster"])


def _status(job: Job) -> int:
    """What has become of a job that is over, as an exit status or one of service.endings."""
    if job.status == "STOPPED":
        return EXIT_STOPPED
    if job.exit_code is not None:
        return SIGNALLED - job.exit_code if SIGNALLED < job.exit_code < SIGNALLED + 65 else job.exit_code
    if job.status == "SUCCEEDED":
        return EXIT_DONE
    return NOT_STARTED if job.error_type in _NO_ROOM else JOB_LOST


def _say_how(job: Job) -> None:
    """For the operator: what Ray says of a job that failed, which ends with the end of its log."""
    if job.status == "FAILED":
        tail = [escaped(line)[:500] for line in job.message.splitlines()[-TAIL_LINES:]]
        log.warning("a driver's job has failed", job=job.submission_id, error_type=job.error_type, says=tail)
