"""Runs a study here, without a server: creates or continues it, watches its driver, ends with its result folder."""

import fcntl
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import WarmupBenchError
from schemas.study import Study
from schemas.trials import TrialSpec, TrialState
from service.progress import Progress
from service.requests import Request
from workers.launcher import Driver, start_driver
from workers.ledger.ledger import Ledger
from workers.ledger.rows import StudyRow
from workers.places import Places
from workers.results.folder import check_folder, copy_results, default_folder_name
from workers.studies import create_study, publish_data

POLL_S = 0.2
EVENTS_PER_READ = 1_000
LAUNCH_S = 20.0
"""So long a launched driver may take to its own lease, before another command launches one."""
MAX_LAUNCHES = 3
"""A driver that was killed is started again this often; the ledger knows what is missing."""
EXIT_DONE, EXIT_FAILED, EXIT_STOPPED, EXIT_NOT_MINE = 0, 1, 3, 4


@dataclass(frozen=True)
class Prepared:
    """A study that is in the ledger."""

    row: StudyRow
    study: Study
    folder: Path
    is_new: bool


def prepare(ledger: Ledger, request: Request, places: Places, out: Path | None) -> Prepared:
    """Publish data, and create the study, or find the one of the same spec and queue what it lacks.

    Raises:
        PlaceError: before anything is written.
    """
    study = request.study
    with _one_at_a_time(places):  # else two commands could both find nothing, and make two studies of one spec
        known = ledger.study_by_spec_hash(study.spec_hash)
        # The spec may be the same and its trials not: a data set has changed, or the science has.
        if known is not None and _same_trials(ledger, known.id, request.trials):
            folder = _folder(out, study, known.id)
            check_folder(folder, known.id)
            return Prepared(ledger.continue_study(known.id), study, folder, is_new=False)
        check_folder(_folder(out, study, "new"), None)
        publish_data(ledger, places.data)
        row = create_study(ledger, study, request.trials)
    return Prepared(row, study, _folder(out, study, row.id), is_new=True)


class Watch:
    """Starts the driver unless another command has, and follows the ledger until the study is final."""

    def __init__(self, ledger: Ledger, row: StudyRow, places: Places, workers: int | None) -> None:
        self._ledger = ledger
        self._row = row
        self._places = places
        self._workers = workers
        self._driver: Driver | None = None
        self._launches = 0
        self._plan_read = -1
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self.progress = Progress(total=row.total)

    @property
    def is_adopted(self) -> bool:
        """Whether another command's driver runs the study."""
        return self._driver is None

    def follow(self, show: Callable[[Progress], None]) -> StudyRow:
        """Call `show` about five times a second until the study is final, and its driver has ended.

        Raises:
            DriverFailed: the driver ended and cannot be started again with hope.
            KeyboardInterrupt: call `stop` then.
        """
        while True:
            self._read()
            row = self._ledger.study(self._row.id) if self.progress.is_final else None
            if row is not None and row.state.is_final and not self._has_driver():
                self._read()
                show(self.progress)
                return row
            show(self.progress)
            if row is None:
                self._mind_the_driver()
            time.sleep(POLL_S)

    def stop(self) -> None:
        """Let our driver end its turn and keep what is done; another command's is left alone."""
        if self._driver is not None:
            self._driver.stop()
            self._free_lease()
            self._queue_again()

    def _queue_again(self) -> None:
        # A driver that had to be killed could not say that it has stopped: what it ran waits again.
        row, lease = self._ledger.study(self._row.id), self._ledger.lease(self._row.id, "run")
        if row.state is TrialState.RUNNING and (lease is None or not lease.is_fresh):
            self._ledger.requeue_packs(row.id, None, row.attempt, "its driver was killed")
            self._ledger.set_study_state(row.id, TrialState.QUEUED, reason="its driver was killed", fence=row.attempt)

    @property
    def has_failed(self) -> bool:
        """Whether our driver ended in another way than done or stopped."""
        return self._driver is not None and self._driver.poll() not in (None, EXIT_DONE, EXIT_STOPPED)

    def _read(self) -> None:
        while True:
            events = self._ledger.events(self._row.id, after=self.progress.last_seq, limit=EVENTS_PER_READ)
            self.progress.take(events)
            if len(events) < EVENTS_PER_READ:
                break
        if self.progress.num_plans != self._plan_read:
            self._plan_read = self.progress.num_plans
            packs = self._ledger.packs(self._row.id)
            self.progress.pack_steps = {pack.pack_id: int(pack.plan["total_steps"]) for pack in packs}
            self.progress.pack_trials = {pack.pack_id: len(pack.members) for pack in packs}

    def _has_driver(self) -> bool:
        return self._driver.poll() is None if self._driver is not None else self._is_driven()

    def _is_driven(self) -> bool:
        lease = self._ledger.lease(self._row.id, "run")
        return lease is not None and lease.is_fresh

    def _mind_the_driver(self) -> None:
        if self._driver is None:
            # In this order: a driver makes its study final before it gives its lease back.
            if not self._is_driven() and not self._ledger.study(self._row.id).state.is_final:
                self._launch()
            return
        status = self._driver.poll()
        if status is None or self._ledger.study(self._row.id).state.is_final:
            return
        log, tail = self._driver.log, self._driver.tail()
        if status == EXIT_NOT_MINE:
            self._driver = None
        elif status in (EXIT_DONE, EXIT_FAILED, EXIT_STOPPED) or self._launches >= MAX_LAUNCHES:
            raise DriverFailed(f"{_ending(status)}; the same command continues. Its log, {log}, ends:\n{tail}")
        else:
            self.progress.notices.append(f"{_ending(status)}; starting it again")
            self._free_lease()
            self._launch()

    def _free_lease(self) -> None:
        # Its process is known to be gone, so nobody needs to wait for the lease to run out.
        lease = self._ledger.lease(self._row.id, "run")
        if lease is not None and self._driver is not None and f":{self._driver.process.pid}:" in lease.owner:
            self._ledger.release_lease(self._row.id, "run", lease.owner, lease.fence)

    def _launch(self) -> None:
        if self._ledger.acquire_lease(self._row.id, "launch", self._owner, LAUNCH_S) is None:
            return  # another command is starting a driver just now
        self._launches += 1
        self._driver = start_driver(self._row.id, self._places, workers=self._workers)


class DriverFailed(WarmupBenchError):
    """The driver of a study ended before the study did."""

    code = "driver_failed"


def collect(ledger: Ledger, places: Places, prepared: Prepared, *, rewrite: bool = False) -> Path:
    """Copy the study's results to where the person asked for them, written anew where there are none or `rewrite`.

    Raises:
        PlaceError: they cannot be copied there, or could not be written in the first place.
    """
    source, study_id = places.study_folder(prepared.row.id), prepared.row.id
    if rewrite or not (source / "report.json").is_file():
        from workers.results.write import write_results  # slow to import, and seldom needed here

        write_results(ledger, study_id, places, source)
    copy_results(source, prepared.folder, study_id)
    return prepared.folder


@contextmanager
def _one_at_a_time(places: Places) -> Iterator[None]:
    with (places.home / ".creating").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _folder(out: Path | None, study: Study, study_id: str) -> Path:
    return (out or Path(default_folder_name(study.name, study_id))).absolute()


def _same_trials(ledger: Ledger, study_id: str, trials: list[TrialSpec]) -> bool:
    return [trial.trial_id for trial in ledger.trials(study_id)] == [trial.trial_id for trial in trials]


def _ending(status: int) -> str:
    return f"the driver was killed (signal {-status})" if status < 0 else f"the driver ended with status {status}"
