"""Follows a study that runs here, without a server: starts and watches its driver, ends with its result folder."""

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from schemas.errors import WarmupBenchError
from schemas.trials import TrialState
from service.preparing import Prepared
from service.progress import Progress
from workers import marks
from workers.holders import has_ended, lease_owner, process_of
from workers.launcher import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_NOT_MINE,
    EXIT_RAY_LOST,
    EXIT_STOPPED,
    Driver,
    is_ray_job,
    start_driver,
    start_publisher,
)
from workers.ledger.leases import Kind
from workers.ledger.ledger import Ledger
from workers.ledger.rows import LeaseRow, PackState, StudyRow
from workers.ledger_copies import restore
from workers.places import Places, database_url
from workers.results.folder import copy_results

POLL_S = 0.2
EVENTS_PER_READ = 1_000
LAUNCH_S = 20.0
"""So long a launched driver may take to its own lease, before another command launches one."""
COUNT_EVERY_S = 1.0
"""How often published runs are counted, while somebody waits for them."""
MAX_LAUNCHES = 5
"""A driver that was killed is started again; so many in a row that bring the study no further are enough."""
AGAIN_AFTER_S = 1.0
"""Before the second launch; doubled for each one after it that brings the study no further."""


class Watch:
    """Starts the driver unless another command has, and follows the ledger until the study is final."""

    def __init__(self, ledger: Ledger, row: StudyRow, places: Places, workers: int | None) -> None:
        self._ledger = ledger
        self._row = row
        self._places = places
        self._workers = workers
        self._driver: Driver | None = None
        self._launches = 0
        self._not_before: float | None = None
        self._furthest = 0
        self._plan_read = -1
        self._publisher: Driver | None = None
        self._owner = lease_owner()
        self._awaited = self._owner
        self._counted_at = 0.0
        self._is_publishing_said = False
        self.progress = Progress(total=row.total)

    @property
    def is_adopted(self) -> bool:
        """Whether another command's driver runs the study."""
        return self._driver is None

    def follow(self, show: Callable[[Progress], None]) -> StudyRow:
        """Call `show` about five times a second until the study is final and what it found can be read.

        Of a study that is done, MLflow may lack something still: `publish` waits for that.

        Raises:
            DriverFailed: the driver ended and cannot be started again with hope.
            KeyboardInterrupt: call `stop` then.
        """
        self._read()
        self.progress.notices.clear()  # of what happened before this command: it is over
        while True:
            self._read()
            row = self._ledger.study(self._row.id) if self.progress.is_final else None
            # A study becomes done after its report is written, and cancelled or errored before.
            if row is not None and row.state.is_final and (row.state is TrialState.DONE or not self._has_driver()):
                self._read()
                show(self.progress)
                return row
            show(self.progress)
            if row is None:
                self._mind_the_driver()
            time.sleep(POLL_S)

    def publish(self, show: Callable[[Progress], None]) -> None:
        """See a final study published, calling `show` as `follow` does, for as long as the tracker takes it.

        Whoever drives the study publishes it. Where nobody does and something is missing (its publisher was killed,
        say), a publisher of our own catches up.

        Raises:
            KeyboardInterrupt: call `stop` then.
        """
        if self._places.tracking_uri is not None and self._has_driver():
            self._say_publishing()
        while self._has_driver():
            self._show_publishing(show)
        if self._driver is not None:
            marks.end_rays_of_dead_drivers(self._row.id)
        ended_well = self._driver is not None and self._driver.poll() == EXIT_DONE
        if ended_well or self._places.tracking_uri is None or self._is_published():
            return
        self._say_publishing()
        self._publisher = start_publisher(self._row.id, self._places, follow=False)
        while self._publisher.poll() is None:
            self._show_publishing(show)

    def _say_publishing(self) -> None:
        if not self._is_publishing_said:
            self._is_publishing_said = True
            self.progress.notices.append(
                f"publishing to MLflow; Ctrl-C is safe: `warmup-bench sync {self._row.id[:8]}` goes on"
            )

    def _show_publishing(self, show: Callable[[Progress], None]) -> None:
        self._read()
        if time.monotonic() - self._counted_at >= COUNT_EVERY_S:
            self._counted_at = time.monotonic()
            self.progress.published = len(self._ledger.final_publications(self._row.id))
        show(self.progress)
        time.sleep(POLL_S)

    def _is_published(self) -> bool:
        # The study's own run is published when all others are.
        row, whole = self._ledger.study(self._row.id), self._ledger.publication(self._row.id, self._row.id)
        return row.publishing == "current" and whole is not None and whole.is_final and _has_store(self._places)

    def stop(self) -> None:
        """Let our driver end its turn and keep what is done; another command's is left alone."""
        if self._publisher is not None:
            self._publisher.stop(grace_s=1.0)
        if self._driver is not None:
            self._driver.stop()
            marks.end_rays_of_dead_drivers(self._row.id)
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
            packs = self._ledger.packs(
                self._row.id, [state for state in PackState if state is not PackState.SUPERSEDED]
            )
            self.progress.pack_steps = {pack.pack_id: int(pack.plan["total_steps"]) for pack in packs}
            self.progress.pack_trials = {pack.pack_id: len(pack.members) for pack in packs}

    def _has_driver(self) -> bool:
        return self._driver.poll() is None if self._driver is not None else self._is_driven()

    def _is_driven(self) -> bool:
        return self._held("run") is not None

    def _held(self, kind: Kind) -> LeaseRow | None:
        """The lease, while its owner may live. What one that is known to be gone might still write has an old fence."""
        lease = self._ledger.lease(self._row.id, kind)
        if lease is None or not lease.is_fresh:
            return None
        if has_ended(lease.owner):
            self._ledger.release_lease(self._row.id, kind, lease.owner, lease.fence)
            return None
        return lease

    def _say_awaited(self, lease: LeaseRow, doing: str) -> None:
        """Tell once for whom we wait, and how long at most."""
        if lease.owner != self._awaited:
            self._awaited = lease.owner
            pid, left = process_of(lease.owner), max(0.0, (lease.expires_at - datetime.now(UTC)).total_seconds())
            who = f"process {pid}" if pid is not None else lease.owner
            self.progress.notices.append(
                f"waiting for {who}, which {doing}: until it is done, or its lease ends ({left:.0f} s unless renewed)"
            )

    def _mind_the_driver(self) -> None:
        if self._driver is None:
            # In this order: a driver makes its study final before it gives its lease back.
            if (lease := self._held("run")) is not None:
                self._say_awaited(lease, "runs this study for another command, or saves what one has left")
            elif not self._ledger.study(self._row.id).state.is_final:
                self._launch()
            return
        status = self._driver.poll()
        if status is None or self._ledger.study(self._row.id).state.is_final:
            return
        log, tail = self._driver.log, self._driver.tail()
        if self.progress.steps_made > self._furthest:
            self._furthest, self._launches = self.progress.steps_made, 0
        if status == EXIT_NOT_MINE:
            self._driver = None
        elif status in (EXIT_DONE, EXIT_FAILED, EXIT_STOPPED) or self._launches >= MAX_LAUNCHES:
            raise DriverFailed(f"{_ending(status)}; the same command continues. Its log, {log}, ends:\n{tail}")
        elif self._not_before is None:
            self.progress.notices.append(f"{_ending(status)}; starting it again")
            self._free_lease()
            self._not_before = time.monotonic() + AGAIN_AFTER_S * 2 ** max(0, self._launches - 1)
        elif time.monotonic() >= self._not_before:
            dead = self._driver
            self._launch()
            if self._driver is not dead:
                self._not_before = None

    def _free_lease(self) -> None:
        # Its process is known to be gone, so nobody needs to wait for the lease to run out.
        lease = self._ledger.lease(self._row.id, "run")
        if lease is not None and has_ended(lease.owner):
            self._ledger.release_lease(self._row.id, "run", lease.owner, lease.fence)

    def _launch(self) -> None:
        held = self._held("launch")
        if self._ledger.acquire_lease(self._row.id, "launch", self._owner, LAUNCH_S) is None:
            if held is not None:
                self._say_awaited(held, "is starting a driver for this study")
            return
        self._launches += 1
        # A batch job's trainers run on the nodes of its cluster.
        self._driver = start_driver(self._row.id, self._places, workers=self._workers, on_cluster=is_ray_job())


def of_batch_job(places: Places, spec_hash: str) -> Places:
    """The places of a command that is a Ray job: its ledger is the database, where one is named; else a file of
    this study's own, which begins with what an earlier job of it, on whatever node, has left at the records' place.

    Raises:
        PlaceError: the records' place cannot be read. CorruptRecord: what was left is damaged.
    """
    if (url := database_url()) is not None:
        return replace(places, ledger=url)
    file = places.home / "ledgers" / f"{spec_hash}.sqlite"
    restore(file, places.records, spec_hash)
    return replace(places, ledger=str(file))


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


def _has_store(places: Places) -> bool:
    """Whether the tracker may hold anything: a store that is a file of this machine must be there."""
    path = (places.tracking_uri or "").removeprefix("sqlite:///")
    return path == places.tracking_uri or Path(path).is_file()


def _ending(status: int) -> str:
    if status == EXIT_RAY_LOST:
        return "the driver has lost its Ray (a process of it was killed, or this machine ran out of memory)"
    return f"the driver was killed (signal {-status})" if status < 0 else f"the driver ended with status {status}"
