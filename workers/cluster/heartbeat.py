"""Holds a study's run lease from a thread of its own, and tells the driver when it is lost."""

import contextlib
import threading
from types import TracebackType

from schemas.errors import PlaceError, StaleFence
from workers.holders import lease_owner
from workers.launcher import RUN_LEASE_S
from workers.ledger.ledger import Ledger

LEASE_S = RUN_LEASE_S
RENEW_EVERY_S = 5.0


class Heartbeat:
    """The run lease of one driver. Use as a context manager.

    A driver that cannot renew trains on and commits nothing (its fence is checked by every write); it ends when it sees
    that another one has the lease.
    """

    def __init__(self, ledger: Ledger, study_id: str, owner: str, fence: int, lease_s: float = LEASE_S) -> None:
        self._ledger = ledger
        self._study_id = study_id
        self._owner = owner
        self.fence = fence
        self._lease_s = lease_s
        self._lost = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="heartbeat", daemon=True)

    @classmethod
    def acquire(cls, ledger: Ledger, study_id: str, lease_s: float = LEASE_S) -> "Heartbeat | None":
        """Take the lease; None where another driver holds it."""
        owner = lease_owner()
        lease = ledger.acquire_lease(study_id, "run", owner, lease_s)
        return None if lease is None else cls(ledger, study_id, owner, lease.fence, lease_s)

    def __enter__(self) -> "Heartbeat":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        with contextlib.suppress(PlaceError):  # then it runs out by itself
            self._release()

    def _release(self) -> None:
        self._ledger.release_lease(self._study_id, "run", self._owner, self.fence)

    def check(self) -> None:
        """Raise StaleFence when another driver has taken over."""
        if self._lost.is_set():
            raise StaleFence(f"study {self._study_id}: another driver has the run lease")

    def _renew(self) -> None:
        while not self._stop.wait(min(RENEW_EVERY_S, self._lease_s / 3)):
            try:
                if not self._ledger.renew_lease(self._study_id, "run", self._owner, self.fence, self._lease_s):
                    self._lost.set()
                    return
            except PlaceError:
                continue  # the ledger is out of reach: keep training, try again
