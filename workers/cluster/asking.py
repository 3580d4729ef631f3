"""The latest answer to a question that may not come back, as one to a cluster whose head is away."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

log = logging.getLogger("warmup_bench.driver")

EVERY_S = 2.0
FIRST_S = 10.0
"""So long the first answer is waited for."""

Answer = TypeVar("Answer")


class Asked(Generic[Answer]):
    """Asks again in the background, where the last answer is older than two seconds and somebody wants one."""

    def __init__(self, ask: Callable[[], Answer], before: Answer, clock: Callable[[], float] = time.monotonic) -> None:
        """`before`: the answer until there is one."""
        self._ask, self._answer, self._clock = ask, before, clock
        self._thread: threading.Thread | None = None
        self._asked_at: float | None = None

    def latest(self) -> Answer:
        """The last answer that came; only the first is waited for."""
        is_first = self._asked_at is None
        is_over = self._thread is None or not self._thread.is_alive()
        if is_over and (self._asked_at is None or self._clock() - self._asked_at >= EVERY_S):
            self._asked_at = self._clock()
            self._thread = threading.Thread(target=self._answered, name="asking", daemon=True)
            self._thread.start()
        if is_first and self._thread is not None:
            self._thread.join(FIRST_S)
        return self._answer

    def _answered(self) -> None:
        try:
            self._answer = self._ask()
        except Exception as error:  # Ray's own, of many kinds: the cluster is away, or let go of
            log.debug("no answer: %s", error)
