"""Runs a study here, without a server: creates or continues it, watches its driver, ends with its result folder."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.catalog import DatasetFacts
from schemas.errors import WarmupBenchError
from schemas.study import Study, parse_study
from service.progress import Progress
from workers.launcher import Driver, start_driver
from workers.ledger.ledger import Ledger
from workers.ledger.rows import StudyRow
from workers.places import Places
from workers.planning import expand_trials
from workers.results import claim_folder, copy_results, default_folder_name
from workers.studies import create_study, publish_data

POLL_S = 0.2
MAX_LAUNCHES = 3
"""A driver that was killed is started again this often; the ledger knows what is missing."""
EXIT_STOPPED, EXIT_NOT_MINE = 3, 4


@dataclass(frozen=True)
class Prepared:
    """A study that is in the ledger."""

    row: StudyRow
    study: Study
    folder: Path
    is_new: bool


def prepare(ledger: Ledger, document: Any, places: Places, out: Path | None) -> Prepared:
    """Validate, publish data, and create the study, or find the one of the same spec and queue what it lacks.

    Raises:
        SpecError, DataMissing, PlaceError: before anything is written.
    """
    study = parse_study(document)
    publish_data(ledger, places.data)
    datasets = {row.kind: DatasetFacts.model_validate(row.facts) for row in ledger.datasets()}
    trials = expand_trials(study, datasets)
    known = ledger.study_by_spec_hash(study.spec_hash)
    if known is not None and _same_trials(ledger, known.id, [trial.trial_id for trial in trials]):
        folder = out or Path.cwd() / default_folder_name(study.name, known.id)
        claim_folder(folder, known.id)
        return Prepared(ledger.continue_study(known.id), study, folder, is_new=False)
    if out is not None:
        claim_folder(out, "")
    row = create_study(ledger, study, trials)
    return Prepared(row, study, out or Path.cwd() / default_folder_name(study.name, row.id), is_new=True)


class Watch:
    """Starts the driver unless another one has the study, and follows the ledger until the study is final."""

    def __init__(self, ledger: Ledger, row: StudyRow, places: Places, workers: int | None) -> None:
        self._ledger = ledger
        self._row = row
        self._places = places
        self._workers = workers
        self._driver: Driver | None = None
        self._launches = 0
        self.progress = Progress(total=row.total)
        self.adopted = False

    def follow(self, show: Callable[[Progress], None]) -> StudyRow:
        """Call `show` about five times a second until the study is final, and the driver has ended.

        Raises:
            DriverFailed: the driver ended and cannot be started again with hope.
            KeyboardInterrupt: after `stop`.
        """
        lease = self._ledger.lease(self._row.id, "run")
        if lease is not None and lease.is_fresh:
            self.adopted = True
        else:
            self._launch()
        while True:
            self._read()
            show(self.progress)
            row = self._ledger.study(self._row.id)
            if row.state.is_final and (self._driver is None or self._driver.poll() is not None):
                self._read()
                show(self.progress)
                return row
            self._mind_the_driver(row)
            time.sleep(POLL_S)

    def stop(self) -> None:
        """Let the driver end its turn and keep what is done."""
        if self._driver is not None:
            self._driver.stop()

    def _read(self) -> None:
        self.progress.take(self._ledger.events(self._row.id, after=self.progress.last_seq))
        if not self.progress.pack_steps and self._ledger.has_plan(self._row.id, 0):
            packs = self._ledger.packs(self._row.id)
            self.progress.pack_steps = {pack.pack_id: int(pack.plan["total_steps"]) for pack in packs}
            self.progress.pack_trials = {pack.pack_id: len(pack.members) for pack in packs}

    def _mind_the_driver(self, row: StudyRow) -> None:
        if self._driver is None:
            lease = self._ledger.lease(self._row.id, "run")
            if not row.state.is_final and (lease is None or not lease.is_fresh):
                self.adopted = False
                self._launch()
            return
        status = self._driver.poll()
        if status is None or row.state.is_final:
            return
        if status == EXIT_NOT_MINE:
            self._driver, self.adopted = None, True
        elif self._launches >= MAX_LAUNCHES or status in (1, EXIT_STOPPED):
            raise DriverFailed(f"the driver ended with status {status}; its log: {self._driver.log}\n{self._driver.tail()}")
        else:
            self.progress.notices.append(f"the driver ended with status {status}; starting it again")
            self._free_lease()
            self._launch()

    def _free_lease(self) -> None:
        # Its process is known to be gone, so nobody needs to wait for the lease to run out.
        lease = self._ledger.lease(self._row.id, "run")
        if lease is not None and self._driver is not None and f":{self._driver.process.pid}:" in lease.owner:
            self._ledger.release_lease(self._row.id, "run", lease.owner, lease.fence)

    def _launch(self) -> None:
        self._launches += 1
        self._driver = start_driver(self._row.id, self._places, workers=self._workers)


class DriverFailed(WarmupBenchError):
    """The driver of a study ended before the study did."""

    code = "driver_failed"


def collect(places: Places, prepared: Prepared) -> Path:
    """Copy the study's results to where the person asked for them."""
    source = places.study_folder(prepared.row.id)
    if source.is_dir():
        copy_results(source, prepared.folder, prepared.row.id)
    return prepared.folder


def _same_trials(ledger: Ledger, study_id: str, trial_ids: list[str]) -> bool:
    # The spec may be the same and its trials not: a data set has changed, or the science has.
    return [trial.trial_id for trial in ledger.trials(study_id)] == trial_ids

