"""Says in the ledger why queued studies wait, where that is not their turn: the cluster is away, or has no room."""

from collections.abc import Callable

from workers.ledger.ledger import Ledger

BEGINS = "waits: "
"""Of every reason that is said here."""
SAY_AGAIN_S = 30.0
"""Studies that came meanwhile are told too."""


class Waiting:
    """Of one controller."""

    def __init__(self, ledger: Ledger, clock: Callable[[], float]) -> None:
        self._ledger, self._clock = ledger, clock
        self._said: str | None = BEGINS  # what a controller before has said, as far as we know
        self._says_from = clock()

    def say(self, reason: str) -> None:
        """Nothing can be launched, and why.

        Raises:
            PlaceError: the ledger is out of reach.
        """
        if reason != self._said or self._clock() >= self._says_from:
            self._ledger.explain_waiting(f"{BEGINS}{reason}; the study goes on by itself when that is over")
            self._said, self._says_from = reason, self._clock() + SAY_AGAIN_S

    def forget(self) -> None:
        """Studies can be launched again.

        Raises:
            PlaceError: the ledger is out of reach.
        """
        if self._said is not None:
            self._ledger.explain_waiting("", where=BEGINS)
            self._said = None
