"""Drivers that are no processes: they take leases and move studies when a test says so."""

import time
from itertools import count
from pathlib import Path

from schemas.trials import TrialState
from tests.ledger.making import EXECUTION, finish, new_study, new_trials
from workers.holders import lease_owner
from workers.launcher import EXIT_DONE, EXIT_STOPPED
from workers.ledger.inputs import NewPack
from workers.ledger.ledger import Ledger

GONE = 2**22 + 2
"""No process has this id: it is above the largest that Linux gives."""
NUM_TRIALS = 2
_numbers = count()


def queued(ledger: Ledger, number: int = 1, **more) -> list[str]:
    """Ids of new studies whose trials nothing else has, each younger than the one before."""
    made = []
    for _ in range(number):
        name = f"study {next(_numbers)}"
        made.append(new_study(ledger, name=name, trials=new_trials(NUM_TRIALS, name=name), **more).id)
        time.sleep(0.002)
    return made


class FakeDriver:
    """One launch of a study of NUM_TRIALS trials."""

    log = Path("/home/logs/driver.log")

    def __init__(self, ledger: Ledger, study_id: str) -> None:
        self.ledger, self.study_id = ledger, study_id
        self.status: int | None = None
        self.is_asked = self.is_killed = False
        self.obeys = True
        self.number = next(_numbers)
        # Of another host, so that nobody can tell whether it lives.
        self.owner = f"elsewhere:{self.number}:x"
        self.fence = 0

    def come_up(self, owner: str | None = None) -> "FakeDriver":
        """What a driver does first: its lease, then the study runs; with a plan, the first time."""
        self.owner = owner or self.owner
        lease = self.ledger.acquire_lease(self.study_id, "run", self.owner, 60.0)
        assert lease is not None, "two drivers have one study"
        self.fence = lease.fence
        launch = self.ledger.lease(self.study_id, "launch")
        if launch is not None:
            self.ledger.release_lease(self.study_id, "launch", launch.owner, launch.fence)
        self.ledger.set_study_state(self.study_id, TrialState.RUNNING, fence=self.fence)
        if not self.ledger.has_plan(self.study_id, 0):
            self.ledger.write_plan(self.study_id, 0, self._packs(), self.fence, "cpu")
        return self

    def _packs(self) -> list[NewPack]:
        return [
            NewPack(
                pack_id=f"{self.study_id}-{trial.num_index}",
                group_key="digits-mlp",
                size=1,
                chunk_steps=100,
                members=[(trial.trial_id, 0)],
                execution_id=EXECUTION,
                plan={"total_steps": 100},
            )
            for trial in self.ledger.trials(self.study_id)
        ]

    def train(self, num_packs: int = NUM_TRIALS) -> None:
        """Finish that many packs."""
        finish(self.ledger, self.study_id, self.fence, self.waiting()[:num_packs])

    def waiting(self) -> list[str]:
        return [pack.pack_id for pack in self.ledger.packs(self.study_id) if pack.state == "queued"]

    def end(self, status: int = EXIT_DONE) -> None:
        """Give the lease back and end."""
        self.ledger.release_lease(self.study_id, "run", self.owner, self.fence)
        self.status = status

    def complete(self) -> None:
        """All of it, to the end."""
        self.come_up()
        self.train()
        self.ledger.set_study_state(self.study_id, TrialState.DONE, fence=self.fence)
        self.end()

    def die(self, status: int = -9) -> None:
        """As by `kill -9`: its lease stays, and names a process of this machine that is gone."""
        self.status = status

    def poll(self) -> int | None:
        return self.status

    def ask_to_stop(self) -> None:
        self.is_asked = True
        if self.obeys and self.status is None:
            self.ledger.requeue_packs(self.study_id, None, self.fence, "asked to stop")
            self.ledger.set_study_state(self.study_id, TrialState.QUEUED, fence=self.fence)
            self.end(EXIT_STOPPED)

    def kill(self) -> None:
        self.is_killed = True
        self.ledger.release_lease(
            self.study_id, "run", self.owner, self.fence
        )  # as if its process was known to be gone
        self.status = -9


def gone_owner() -> str:
    """What a process of this machine that has ended has called itself."""
    host, _, machine, started, _ = lease_owner().split(":")
    return f"{host}:{GONE}:{machine}:{started}:{next(_numbers)}"


class FakePublisher:
    """Runs until a test says otherwise."""

    status: int | None = None

    def poll(self) -> int | None:
        return self.status


class FakeLauncher:
    """Remembers its drivers, the newest last."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.drivers: list[FakeDriver] = []
        self.adoptable: dict[str, FakeDriver] = {}
        self.published: list[str] = []
        self.publishers: list[FakePublisher] = []
        self.has_tracker = True
        self.is_stopped = False
        self.cannot: OSError | None = None
        self.outlived = False

    @property
    def launched(self) -> list[str]:
        return [driver.study_id for driver in self.drivers]

    def begin(self, held) -> None:
        pass

    def start(self, study_id: str) -> FakeDriver:
        if self.cannot is not None:
            raise self.cannot
        self.drivers.append(FakeDriver(self.ledger, study_id))
        return self.drivers[-1]

    def adopt(self, lease) -> FakeDriver | None:
        return self.adoptable.get(lease.owner)

    def publish(self, study_id: str) -> "FakePublisher | None":
        if not self.has_tracker:
            return None
        self.published.append(study_id)
        self.publishers.append(FakePublisher())
        return self.publishers[-1]

    def rest(self) -> None:
        pass

    def stop(self) -> None:
        self.is_stopped = True


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now
