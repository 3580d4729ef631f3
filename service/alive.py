"""A file that says that the controller still goes round: touched every round, and asked for its age by a probe."""

import contextlib
import time
from pathlib import Path

from schemas.errors import PlaceError

FILE = "controller.alive"


class Alive:
    """The file of one controller, in its home."""

    def __init__(self, home: Path) -> None:
        self._path = home / FILE

    def note(self) -> None:
        """Now it lives. A file that cannot be written is no reason to stop: the probe will say so."""
        with contextlib.suppress(OSError):
            self._path.touch()

    def end(self) -> None:
        """It has ended, as asked."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def age_s(home: Path) -> float:
    """Seconds since the controller of this home was last round.

    Raises:
        PlaceError: no controller runs with this home, or its file cannot be seen.
    """
    path = home / FILE
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError as error:
        raise PlaceError(f"no {path}: no controller runs with this home") from error
    except OSError as error:
        raise PlaceError(f"{path}: {error.strerror or error}") from error
