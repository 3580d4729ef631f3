"""`warmup-bench serve` whose launcher runs studies named `fake ...` in threads of its own, and all others for real.

python -m tests.e2e.fake_controller JOURNAL serve --only controller ...

A thread writes into the journal whenever it acts for a study, so that a test can tell whether two ever did at once.
"""

import os
import random
import sys
import threading
import time
from functools import partial
from pathlib import Path

from schemas.errors import StaleFence, WarmupBenchError
from schemas.trials import TrialState
from service.launched import LaunchedDriver
from service.launching import LocalLauncher
from tests.ledger.making import EXECUTION, receipt
from workers.holders import lease_owner
from workers.launcher import EXIT_DONE, EXIT_FAILED, EXIT_NOT_MINE, EXIT_STOPPED
from workers.ledger.inputs import NewPack, PackProgress
from workers.ledger.ledger import Ledger
from workers.ledger.rows import LeaseRow
from workers.places import Places

FAKE = "fake "
PACK_TRIALS, NUM_TURNS, TURN_S, LEASE_S = 2, 4, 0.25, 30.0


class Journal:
    """A file that several processes append whole lines to: `TIME WHAT STUDY FENCE PID`."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(self, what: str, study_id: str, fence: int) -> None:
        """One line, with the clock that all processes of this machine share."""
        os.write(self._file, f"{time.monotonic():.6f} {what} {study_id} {fence} {os.getpid()}\n".encode())


class ThreadDriver:
    """Drives a study as a driver does, and trains nothing. Dies with its process."""

    log = Path(os.devnull)

    def __init__(self, ledger: Ledger, study_id: str, journal: Journal) -> None:
        self._ledger, self._study_id, self._journal = ledger, study_id, journal
        self._status: int | None = None
        self._is_asked = False
        threading.Thread(target=self._run, daemon=True).start()

    def poll(self) -> int | None:
        return self._status

    def ask_to_stop(self) -> None:
        self._is_asked = True

    def kill(self) -> None:
        self._is_asked = True

    def _run(self) -> None:
        try:
            self._status = self._drive()
        except StaleFence:
            self._status = EXIT_NOT_MINE
        except WarmupBenchError as error:
            print(f"a fake driver failed: {error}", file=sys.stderr)
            self._status = EXIT_FAILED

    def _drive(self) -> int:
        ledger, study_id, owner = self._ledger, self._study_id, lease_owner()
        lease = ledger.acquire_lease(study_id, "run", owner, LEASE_S)
        if lease is None:
            return EXIT_NOT_MINE
        self._journal.note("began", study_id, lease.fence)
        launch = ledger.lease(study_id, "launch")
        if launch is not None:
            ledger.release_lease(study_id, "launch", launch.owner, launch.fence)
        ledger.requeue_packs(study_id, None, lease.fence, "its driver was replaced")
        ledger.set_study_state(study_id, TrialState.RUNNING, fence=lease.fence)
        if not ledger.has_plan(study_id, 0):
            ledger.write_plan(study_id, 0, self._packs(), lease.fence, "fake")
        is_done = all(self._train(pack.pack_id, lease) for pack in ledger.packs(study_id) if pack.state == "queued")
        ledger.requeue_packs(study_id, None, lease.fence, "asked to stop")
        ledger.set_study_state(study_id, TrialState.DONE if is_done else TrialState.QUEUED, fence=lease.fence)
        self._journal.note("ended", study_id, lease.fence)
        ledger.release_lease(study_id, "run", owner, lease.fence)
        return EXIT_DONE if is_done else EXIT_STOPPED

    def _packs(self) -> list[NewPack]:
        trials = list(self._ledger.trials(self._study_id))
        return [
            NewPack(
                pack_id=f"{self._study_id}-{first}",
                group_key="fake",
                size=PACK_TRIALS,
                chunk_steps=1,
                members=[(trial.trial_id, slot) for slot, trial in enumerate(trials[first : first + PACK_TRIALS])],
                execution_id=EXECUTION,
                plan={"total_steps": NUM_TURNS},
            )
            for first in range(0, len(trials), PACK_TRIALS)
        ]

    def _train(self, pack_id: str, lease: LeaseRow) -> bool:
        """False: asked to stop before it was done."""
        (pack,) = self._ledger.start_packs(self._study_id, [pack_id], lease.fence)
        for step in range(pack.step, NUM_TURNS):
            if self._is_asked:
                return False
            time.sleep(random.uniform(0.2, 1.0) * TURN_S)
            # Before it writes: the ledger refuses what a driver writes that was replaced, but not that it has trained.
            self._journal.note("acted", self._study_id, lease.fence)
            self._ledger.renew_lease(self._study_id, "run", lease.owner, lease.fence, LEASE_S)
            self._ledger.record_progress(
                self._study_id, lease.fence, [PackProgress(pack_id, pack.attempt, [], None, step + 1)]
            )
        self._ledger.commit_receipts(self._study_id, lease.fence, [receipt(pack, steps=NUM_TURNS)])
        return True


class MixedLauncher(LocalLauncher):
    """Threads for what is named so; processes and a Ray for all else."""

    def __init__(self, journal: Journal, places: Places, workers: int | None) -> None:
        super().__init__(places, workers)
        self._ledger, self._journal = Ledger.open(places.ledger), journal

    def start(self, study_id: str) -> LaunchedDriver:
        if self._ledger.study_head(study_id).name.startswith(FAKE):
            return ThreadDriver(self._ledger, study_id, self._journal)
        return super().start(study_id)


if __name__ == "__main__":
    import service.serve
    from warmup_bench import main

    service.serve.LocalLauncher = partial(MixedLauncher, Journal(Path(sys.argv.pop(1))))
    main()
