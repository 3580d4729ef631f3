"""Publishes final studies of which the tracker lacks something: in the background, one at a time, never for ever.

Two publishers of one study could make two runs of one key, and two controllers have no file in common to lock. So a
controller publishes under the study's `publish` lease, which it renews while its publisher runs.
"""

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from service.launched import LaunchedPublisher
from workers.ledger.ledger import Ledger
from workers.ledger.rows import LeaseRow

log = structlog.get_logger("warmup_bench.controller")

LEASE_S = 30.0
ASK_EVERY_S = 15.0
"""How often it is asked which studies are behind, while there is time for them."""
PAUSE_S = 60.0
"""So long nothing that is behind is tried after one that stayed so: the tracker may be down."""
FIRST_WAIT_S, LONGEST_WAIT_S = 150.0, 3_600.0
"""Before a study is tried again that stayed behind, twice as long each time: others have their turn in between."""


@dataclass
class _Publishing:
    """What is under way."""

    publisher: LaunchedPublisher
    lease: LeaseRow
    renewed_at: float


class CatchingUp:
    """Of one controller. Call `once` every round."""

    def __init__(
        self,
        ledger: Ledger,
        publish: Callable[[str], LaunchedPublisher | None],
        owner: str,
        clock: Callable[[], float],
    ) -> None:
        self._ledger, self._publish, self._owner, self._clock = ledger, publish, owner, clock
        self._ended: dict[str, None] = {}
        self._under_way: _Publishing | None = None
        self._tries: dict[str, int] = {}
        self._not_before: dict[str, float] = {}
        self._asks_from = clock()
        self._has_tracker = True

    def add(self, study_id: str) -> None:
        """This study has just ended without its driver: it is next, however many studies wait to run."""
        self._ended[study_id] = None

    def once(self, has_room: Callable[[], bool]) -> None:
        """Mind the publisher; else start one: for what has just ended, or, where there is room, for what is behind.

        Raises:
            PlaceError: the ledger is out of reach.
        """
        if self._under_way is not None:
            self._mind(self._under_way)
        elif not self._has_tracker:
            self._ended.clear()
        elif self._ended:
            study_id = next(iter(self._ended))
            del self._ended[study_id]
            self._begin(study_id)
        elif self._clock() >= self._asks_from and has_room():
            self._asks_from = self._clock() + ASK_EVERY_S
            later = [study_id for study_id, at in self._not_before.items() if at > self._clock()]
            for study_id in self._ledger.behind(1, passed_over=later):
                self._begin(study_id)

    def stop(self) -> None:
        """The launcher has ended the publisher: others may have the study."""
        if self._under_way is not None:
            self._release(self._under_way.lease)
            self._under_way = None

    def _begin(self, study_id: str) -> None:
        lease = self._ledger.acquire_lease(study_id, "publish", self._owner, LEASE_S)
        if lease is None:
            return  # another controller publishes it
        try:
            publisher = self._publish(study_id)
        except OSError as error:
            log.error("a publisher could not be started", study_id=study_id, error=str(error))
            self._try_later(study_id)
            self._release(lease)
            return
        if publisher is None:
            self._has_tracker = False
            self._release(lease)
            return
        log.info("publishing what is behind", study_id=study_id)
        self._under_way = _Publishing(publisher, lease, self._clock())

    def _mind(self, under_way: _Publishing) -> None:
        lease = under_way.lease
        if under_way.publisher.poll() is None:
            if self._clock() - under_way.renewed_at >= LEASE_S / 3:
                under_way.renewed_at = self._clock()
                self._ledger.renew_lease(lease.study_id, "publish", self._owner, lease.fence, LEASE_S)
            return
        self._under_way = None
        self._release(lease)
        if self._ledger.study_head(lease.study_id).publishing == "current":
            self._tries.pop(lease.study_id, None)
            self._not_before.pop(lease.study_id, None)
            self._asks_from = self._clock()
        else:
            self._try_later(lease.study_id)

    def _try_later(self, study_id: str) -> None:
        tries = self._tries[study_id] = self._tries.get(study_id, 0) + 1
        wait_s = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2 ** min(tries - 1, 30))
        self._not_before[study_id] = self._clock() + wait_s
        self._asks_from = self._clock() + PAUSE_S
        log.warning("publishing is still behind; it is tried again", study_id=study_id, in_s=wait_s)

    def _release(self, lease: LeaseRow) -> None:
        self._ledger.release_lease(lease.study_id, "publish", lease.owner, lease.fence)
