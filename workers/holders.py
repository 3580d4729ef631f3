"""Who holds a lease: what a process calls itself in one, and whether the process of that name has ended.

`HOST:PID:MACHINE:STARTED:RANDOM`. A name and a process id say little: two containers may share both. So MACHINE is
this boot of the kernel and this process-id namespace, and STARTED tells a process from an older one of the same id.
"""

import contextlib
import hashlib
import os
import socket
import uuid
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil

PROC = Path("/proc")
START_FIELD = 22
"""Of /proc/PID/stat, from 1: clock ticks between the boot and the start of the process."""


@dataclass(frozen=True)
class Holder:
    """A process of this machine, since its boot, that this process could see if it lived."""

    pid: int
    started: int

    @classmethod
    def read(cls, owner: str) -> "Holder | None":
        """None where `owner` is a process of elsewhere, of before this boot, or nothing that `lease_owner` made."""
        parts = owner.split(":")
        if len(parts) != 5 or parts[0] != socket.gethostname() or not parts[2] or parts[2] != this_machine():
            return None
        pid, started = (int(part) if part.isdecimal() else 0 for part in (parts[1], parts[3]))
        return cls(pid, started) if pid and started else None

    @property
    def has_ended(self) -> bool:
        """Whether it has, a zombie included. False where nobody can tell."""
        try:
            process = psutil.Process(self.pid)
            return start_of(self.pid) not in (self.started, None) or process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True
        except psutil.Error:
            return False


def lease_owner() -> str:
    """What this process calls itself in a lease: nobody else, and itself not twice."""
    started = start_of(os.getpid())
    return f"{socket.gethostname()}:{os.getpid()}:{this_machine()}:{started or 0}:{uuid.uuid4().hex[:8]}"


def process_of(owner: str) -> int | None:
    """The process id in a lease's owner, where that is a process that lives on this machine; else None."""
    holder = Holder.read(owner)
    return None if holder is None or holder.has_ended else holder.pid


def has_ended(owner: str) -> bool:
    """Whether the lease's owner was a process of this machine that has ended. False where nobody can tell."""
    holder = Holder.read(owner)
    return holder is not None and holder.has_ended


@cache
def this_machine() -> str:
    """Twelve digits for this boot and this process-id namespace; empty where the system tells neither.

    Outside Linux the time of the boot stands for it: a clock that is put right then only makes others wait for a lease
    to run out.
    """
    try:
        if PROC.is_dir():
            boot = (PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
            space = os.readlink(PROC / "self/ns/pid")
        else:
            boot, space = str(round(psutil.boot_time())), ""
    except OSError:
        return ""
    return hashlib.sha256(f"{boot} {space}".encode()).hexdigest()[:12]


def start_of(pid: int) -> int | None:
    """When a process began: clock ticks since the boot, or seconds since 1970 outside Linux; None where it is gone."""
    with contextlib.suppress(OSError, ValueError, IndexError, psutil.Error):
        if PROC.is_dir():
            # The second field is the command in parentheses, with whatever it likes in it.
            after_command = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
            return int(after_command.split()[START_FIELD - 3])
        return round(psutil.Process(pid).create_time())
    return None
