"""How a launch has ended that did not bring its study to an end: whose fault that is, and what is said of it."""

import socket
from dataclasses import dataclass
from pathlib import Path

from workers.launcher import EXIT_DONE, EXIT_NO_CLUSTER, EXIT_NO_PLACE, EXIT_RAY_LOST, EXIT_STOPPED

NOT_STARTED, JOB_GONE, JOB_LOST, CANNOT_BEGIN = 1_000, 1_001, 1_002, 1_003
"""Beside exit statuses, which are below 256: the cluster had no room for the driver in time; the cluster does not know
its job any more; the cluster has lost it with its node, or could not run it; its command has failed before it was the
study's driver."""


@dataclass(frozen=True)
class Ending:
    """One launch's end, in words."""

    words: str
    is_fault: bool
    """The machine's; else the study's own."""
    log: Path | str | None = None
    """A file of this machine, or how to read it."""
    is_place: bool = False
    """A place's or the cluster's, which its study waits for: before it can be used, no launch fares better."""

    @classmethod
    def of(cls, status: int, log: Path | str) -> "Ending":
        """From a driver's exit status."""
        if status == EXIT_RAY_LOST:
            what = "the driver has lost its Ray (a process of it was killed, or this machine ran out of memory)"
        elif status == EXIT_NO_PLACE:
            what = (
                "the ledger or the place of the records could not be used (it was out of reach, or its disk was full)"
            )
        elif status == EXIT_NO_CLUSTER:
            what = (
                "the cluster did not take the driver (check the token, and that Ray and Python are of one version on"
                " all nodes)"
            )
        elif status == JOB_LOST:
            what = "the cluster has lost the driver (its node is gone, or could not start it)"
        elif status == CANNOT_BEGIN:
            what = (
                "the node that the driver was sent to could not begin with it (check that `python` there has this"
                " program, of the controller's version)"
            )
        elif status < 0:
            what = f"the driver was killed (signal {-status})"
        elif status in (EXIT_DONE, EXIT_STOPPED):
            what = "the driver has ended before its study"
        else:
            return cls(f"the driver ended with status {status}", False, log)
        return cls(what, True, log, is_place=status in (EXIT_NO_PLACE, EXIT_NO_CLUSTER, CANNOT_BEGIN))

    def reason(self, launches: int) -> str:
        """Why the study is given up. Not what the log says: that may be much, and of no use to who reads the study."""
        where = f". Its log, on {socket.gethostname()}: {self.log}" if isinstance(self.log, Path) else ""
        where = f". Its log: {self.log}" if isinstance(self.log, str) else where
        times = f"{launches} launches in a row" if launches > 1 else "a launch"
        return f"{times} brought it no further; the last time, {self.words}{where}"
