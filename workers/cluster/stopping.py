"""Whether a driver is to stop, and why: a signal, or the command that started it is gone."""

import os
import signal
from types import FrameType


class StopRequest:
    """Remembers the first reason. Nothing is interrupted: the driver asks between turns."""

    def __init__(self, parent_pid: int | None = None) -> None:
        self._parent_pid = parent_pid
        self._reason = ""
        self._is_listening = False

    def listen(self) -> None:
        """Take SIGTERM and SIGINT, for the whole process; only in its main thread."""
        self._is_listening = True
        self.keep_listening()

    def keep_listening(self) -> None:
        """Take them back, where they were taken before.

        Ray's start lays a handler of its own over ours, which calls ours and aborts the process three seconds later;
        its shutdown puts the default back. Both happen in the background, so this is called at every turn.
        """
        if self._is_listening:
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
