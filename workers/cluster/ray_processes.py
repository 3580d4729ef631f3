"""The processes of one Ray: whether those that it cannot do without live, and the end of all of them."""

import contextlib
import os
import uuid
from collections.abc import Mapping

import psutil

from workers import marks

VITAL = ("gcs_server", "raylet")


class RayLost(Exception):
    """The raylet or the GCS of this driver's Ray has ended: no call to Ray can be trusted to return."""


class RayProcesses:
    """Make one before Ray starts, and call `found` once it is up; until then nothing counts as lost.

    Every process of a Ray carries the mark, trainers included, wherever they hang in the tree.
    """

    def __init__(self, mark: str | None = None) -> None:
        self._mark = mark or f"{os.getpid()}-{uuid.uuid4().hex}"
        self._vital: dict[str, psutil.Process] = {}
        os.environ.update(marks.KEPT | {marks.RAY: self._mark})

    @classmethod
    def of_another(cls, mark: str, vital: Mapping[str, tuple[int, float]]) -> "RayProcesses":
        """Those of a Ray that another process has started: name -> process id and start (s since 1970) of the vital."""
        found = cls.__new__(cls)
        found._mark = mark
        found._vital = {name: _process(pid, started) for name, (pid, started) in vital.items()}
        return found

    def found(self) -> None:
        """Note which processes Ray cannot do without: this process started them. What it starts later is not of Ray."""
        os.environ.pop(marks.RAY, None)
        for child in psutil.Process().children():
            with contextlib.suppress(psutil.Error):
                if child.name() in VITAL:
                    self._vital[child.name()] = child

    @property
    def vital(self) -> dict[str, tuple[int, float]]:
        """What `of_another` takes."""
        return {name: (process.pid, process.create_time()) for name, process in self._vital.items()}

    def gone(self) -> str:
        """The name of a vital process that has ended; empty while all live. Asks the kernel, never Ray."""
        # A child that was killed stays a zombie, because nobody here waits for it.
        return next((name for name, process in self._vital.items() if not marks.lives(process)), "")

    def check(self) -> None:
        """Do nothing while Ray lives; else end what is left of it, and say so.

        Raises:
            RayLost: none of its processes writes anything any more.
        """
        if name := self.gone():
            self.kill()
            raise RayLost(f"its Ray is lost: {name} has ended")

    def kill(self) -> None:
        """Kill (SIGKILL) every process that carries the mark, but this one."""
        if self._mark:
            marks.end_marked(marks.RAY, self._mark)


def _process(pid: int, started: float) -> psutil.Process:
    try:
        process = psutil.Process(pid)
        if process.create_time() == started:
            return process
    except psutil.NoSuchProcess:
        pass
    raise RayLost(f"its Ray is lost: process {pid} has ended")
