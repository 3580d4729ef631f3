"""How many trainers a driver may have while others share its Ray: equal parts, asked anew all the time."""

import time
from collections.abc import Callable
from typing import Protocol

ASK_EVERY_S = 2.0


class Running(Protocol):
    """What is asked of the ledger."""

    def num_running(self) -> int:
        """Studies that somebody launches or drives now."""
        ...


class Share:
    """One driver's part of `num_workers` trainers. All of them while its study runs alone, and one at least."""

    def __init__(self, ledger: Running, *, is_shared: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self.num_workers = 1
        self._ledger, self._is_shared, self._clock = ledger, is_shared, clock
        self._num_studies, self._asked_at = 1, -ASK_EVERY_S

    def now(self) -> int:
        """The part, as of the last two seconds."""
        return max(1, self.num_workers // self.num_studies())

    def num_studies(self) -> int:
        """Between how many studies the trainers are shared, as of the last two seconds."""
        if self._is_shared and self._clock() - self._asked_at >= ASK_EVERY_S:
            self._asked_at = self._clock()
            self._num_studies = max(1, self._ledger.num_running())
        return self._num_studies
