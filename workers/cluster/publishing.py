"""The publisher beside a driver: started with it, replaced when it was killed, waited for once all is trained."""

import logging
import time

from workers.cluster.steady_ledger import SteadyLedger
from workers.cluster.stopping import StopRequest
from workers.launcher import Driver as Child
from workers.launcher import start_publisher
from workers.places import Places

log = logging.getLogger("warmup_bench.driver")

DRAIN_S = 75.0
"""The publisher drains for a minute; a little more for its last call."""
POLL_S = 0.1
MAX_STARTS = 5
"""While it drains: one that is killed again and again is left for `sync`."""
GRACE_S = 5.0


class Publishing:
    """Publishes a study while it trains; nothing at all where there is no tracker."""

    def __init__(self, study_id: str, places: Places) -> None:
        self._study_id, self._places = study_id, places
        self._child: Child | None = None

    def start(self) -> None:
        """Begin to publish."""
        if self._places.tracking_uri is not None:
            self._child = self._started()

    def drain(self, steady: SteadyLedger, fence: int, stop: StopRequest) -> None:
        """Let it publish the rest; say `behind` where it has not when its time is over.

        One that has ended before is followed by another: what it could not do then it may do now. From then on only one
        that was killed is.
        """
        if self._child is None:
            return
        deadline, num_starts = time.monotonic() + DRAIN_S, 0
        while time.monotonic() < deadline and not stop.reason:
            status = self._child.poll()
            if status is not None:
                if status == 0 or num_starts == MAX_STARTS or (status > 0 and num_starts > 0):
                    break
                log.warning("the publisher had ended (status %s); another publishes what is missing", status)
                self._child, num_starts = self._started(), num_starts + 1
            stop.keep_listening()
            time.sleep(POLL_S)
        if self._child.poll() != 0:
            log.warning("publishing is behind; `warmup-bench sync` catches up")
            self.stop()
            steady.insist(lambda ledger: ledger.set_publishing(self._study_id, "behind", fence=fence))

    def stop(self) -> None:
        """End it, if it has not."""
        if self._child is not None and self._child.poll() is None:
            self._child.stop(grace_s=GRACE_S)

    def _started(self) -> Child:
        return start_publisher(self._study_id, self._places, follow=True)
