"""Drivers of a service on this machine: started on the Ray that they share, or adopted from a service that is gone."""

from collections.abc import Sequence
from pathlib import Path

import psutil
import structlog

from workers import marks
from workers.cards import cards
from workers.cores import num_cores
from workers.holders import process_of
from workers.launcher import EXIT_DONE, Driver, start_driver, start_publisher
from workers.ledger.rows import LeaseRow
from workers.places import Places
from workers.shared_ray import SharedRay, home_mark

log = structlog.get_logger("warmup_bench.controller")


class AdoptedDriver(Driver):
    """A driver that an earlier service has started: not a child, so nobody hears its exit status."""

    def __init__(self, process: psutil.Process, log: Path) -> None:
        self._process = process
        self.log = log

    def poll(self) -> int | None:
        """EXIT_DONE once it has ended; the ledger tells how."""
        return None if marks.lives(self._process) else EXIT_DONE

    def ask_to_stop(self) -> None:
        """As Driver.ask_to_stop."""
        marks.ask_to_stop(self._process)

    def kill(self) -> None:
        """As Driver.kill: its publisher is its child."""
        found = [self._process]
        try:
            found += self._process.children(recursive=True)
        except psutil.Error:
            return
        marks.end_all(found)


class Publishers:
    """Those that a launcher has started on this machine."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._started: list[Driver] = []

    def start(self, study_id: str) -> Driver | None:
        """As Launcher.publish."""
        self._started = [publisher for publisher in self._started if publisher.poll() is None]
        if self._places.tracking_uri is None:
            return None
        self._started.append(start_publisher(study_id, self._places, follow=False))
        return self._started[-1]

    def stop(self) -> None:
        """End them."""
        for publisher in self._started:
            publisher.stop(grace_s=2.0)


class LocalLauncher:
    """Starts drivers here. Used by one thread."""

    outlived = False

    def __init__(self, places: Places, workers: int | None) -> None:
        self._places, self._workers = places, workers
        self._home_mark = home_mark(places.home)
        num_gpus = len(cards())
        self._ray = SharedRay(places.home, max(workers or num_cores(), num_gpus), num_gpus)
        self._publishers = Publishers(places)

    def begin(self, held: Sequence[LeaseRow]) -> None:
        """Take over what an earlier service of this home has left and is alive by its leases; end the rest of it."""
        if self._ray.take_over([pid for lease in held if (pid := process_of(lease.owner)) is not None]):
            log.info("took over the Ray of the service before")
        studies = {lease.study_id for lease in held}
        for process in list(marks.marked(marks.HOME, self._home_mark)):
            study_id = marks.environment_of(process).get(marks.STUDY)
            if study_id is not None and study_id not in studies:
                log.warning("ended a leftover of the service before", pid=process.pid, study_id=study_id)
                marks.end_all([process])

    def start(self, study_id: str) -> Driver:
        """A driver for the study.

        Raises:
            OSError: it cannot be started.
        """
        service = self._ray.use().driver_environment() | {marks.HOME: self._home_mark}
        return start_driver(study_id, self._places, workers=self._workers, service=service)

    def adopt(self, lease: LeaseRow) -> Driver | None:
        """The driver that holds this run lease, if a service of this home started it."""
        pid = process_of(lease.owner)
        try:
            process = psutil.Process(pid) if pid is not None else None
        except psutil.Error:
            return None
        if process is None:
            return None
        environment = marks.environment_of(process)
        is_ours = (environment.get(marks.HOME), environment.get(marks.STUDY)) == (self._home_mark, lease.study_id)
        return AdoptedDriver(process, self._places.home / "logs" / f"{lease.study_id}.driver.log") if is_ours else None

    def publish(self, study_id: str) -> Driver | None:
        """Let the tracker catch up with a study that has no driver, in the background.

        Raises:
            OSError: it cannot be started.
        """
        return self._publishers.start(study_id)

    def rest(self) -> None:
        """No driver runs: the Ray ends by itself if that stays so."""
        self._ray.release()

    def stop(self) -> None:
        """End the Ray, and whoever publishes; drivers have been stopped before."""
        self._publishers.stop()
        self._ray.stop()
