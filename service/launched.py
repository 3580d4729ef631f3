"""What a controller asks of a launcher, and of the drivers and publishers that it starts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from workers.ledger.rows import LeaseRow


class LaunchedDriver(Protocol):
    """A driver's process."""

    log: Path

    def poll(self) -> int | None:
        """Its exit status, or None while it runs."""

    def ask_to_stop(self) -> None:
        """Ask it to save and to end."""

    def kill(self) -> None:
        """End it at once."""


class LaunchedPublisher(Protocol):
    """A publisher's process. It ends with the one that started it."""

    def poll(self) -> int | None:
        """Its exit status, or None while it runs."""


class Launcher(Protocol):
    """How drivers come to be."""

    def begin(self, held: Sequence[LeaseRow]) -> None:
        """Called once, with the leases that are fresh."""

    def start(self, study_id: str) -> LaunchedDriver:
        """Start one. Raises OSError."""

    def adopt(self, lease: LeaseRow) -> LaunchedDriver | None:
        """The driver that holds this run lease, if it is to be minded here."""

    def publish(self, study_id: str) -> LaunchedPublisher | None:
        """Let the tracker catch up with a study that has no driver; None where there is no tracker. Raises OSError."""

    def rest(self) -> None:
        """No driver runs."""

    def stop(self) -> None:
        """No driver will be started any more. Ends whoever publishes."""
