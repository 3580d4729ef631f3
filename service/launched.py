"""What a controller asks of a launcher, and of the drivers and publishers that it starts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from workers.ledger.rows import LeaseRow


class LauncherAway(OSError):
    """Nothing can be started, or asked, for now: no study's fault, so that none is given up for it.

    Args:
        reason: why, for who reads a study: it names no place of the service's.
        detail: why, for its operator.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class LaunchedDriver(Protocol):
    """A driver's process."""

    @property
    def log(self) -> Path | str:
        """Where its output goes: a file of this machine, or how to read it."""

    def poll(self) -> int | None:
        """Its exit status, or one of service.endings; None while it runs, and while nobody can tell."""

    def ask_to_stop(self) -> None:
        """Ask it to save and to end."""

    def kill(self) -> None:
        """End it at once. Asked again, it tries again."""


class LaunchedPublisher(Protocol):
    """A publisher's process. It ends with the one that started it."""

    def poll(self) -> int | None:
        """Its exit status, or None while it runs."""


class Launcher(Protocol):
    """How drivers come to be."""

    @property
    def outlived(self) -> bool:
        """Whether its drivers run on when their controller stops, for the next one to adopt."""

    def begin(self, held: Sequence[LeaseRow]) -> None:
        """Called once, with the leases that are fresh."""

    def start(self, study_id: str) -> LaunchedDriver:
        """Start one. Raises OSError, LauncherAway."""

    def adopt(self, lease: LeaseRow) -> LaunchedDriver | None:
        """The driver that holds this run lease, if it is to be minded here. Raises LauncherAway: ask again."""

    def publish(self, study_id: str) -> LaunchedPublisher | None:
        """Let the tracker catch up with a study that has no driver; None where there is no tracker. Raises OSError."""

    def rest(self) -> None:
        """No driver runs."""

    def stop(self) -> None:
        """No driver will be started any more. Ends whoever publishes."""
