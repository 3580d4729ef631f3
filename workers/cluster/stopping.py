"""Whether a driver is to stop, and why: a signal, or the command that started it is gone."""

import os
import signal
from types import FrameType


class StopRequest:
    """Remembers the first reason. Nothing is interrupted: the driver asks between turns."""

    def __init__(self, parent_pid: int | None = None) -> None:
        self._parent_pid = parent_pid
        self._reason = ""

    def listen(self) -> None:
        """Take SIGTERM and SIGINT. To be called again after `ray.shutdown`, which puts SIGTERM's default back."""
        signal.signal(signal.SIGTERM, self._on_signal)
        signal.signal(signal.SIGINT, self._on_signal)

    @property
    def reason(self) -> str:
        """Why to stop; empty while there is no reason."""
        if not self._reason and self._parent_pid is not None and os.getppid() != self._parent_pid:
            self._reason = "the command that started the driver is gone"
        return self._reason

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._reason = self._reason or "asked to stop"
