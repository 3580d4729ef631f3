"""The Ray that the drivers of one service share: started, found again by the next service, ended. Imports no Ray.

Its host is a process of its own (`python -m workers.cluster.ray_host`), which outlives a service that is killed. Who
uses it holds a shared lock on a file: the kernel lets go of a dead one's, so the host knows when nobody is left.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

import psutil

from schemas.errors import WarmupBenchError
from workers import marks
from workers.launcher import child_environment, module_command, ray_environment

HOST = "WARMUP_BENCH_RAY_HOST"
"""Environment variable of a driver: the folder of the host that it uses."""
FACTS, USERS, LOG, PID = "host.json", "users.lock", "host.log", "host.pid"
LOCK_WAIT_S = 3.0
"""A host that looks whether anybody is left holds the lock for an instant; one that ends never gives it back."""
STOP_S = 15.0


class RayUnusable(WarmupBenchError):
    """The shared Ray did not start, or has ended."""

    code = "ray_unusable"


@dataclass(frozen=True)
class HostFacts:
    """What a host says of itself once its Ray is up."""

    address: str
    mark: str
    vital: dict[str, tuple[int, float]]
    """Name -> process id and start of the processes that Ray cannot do without."""

    @classmethod
    def read(cls, folder: Path) -> "HostFacts | None":
        """None while the Ray of that folder is not up, and after its end."""
        try:
            said = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        vital = {name: (int(pid), float(started)) for name, (pid, started) in said["vital"].items()}
        return cls(said["address"], said["mark"], vital)

    def write(self, folder: Path) -> None:
        """Say so, all at once."""
        partial = folder / f"{FACTS}.partial"
        partial.write_text(json.dumps(asdict(self)), encoding="utf-8")
        partial.replace(folder / FACTS)


@dataclass(frozen=True)
class Host:
    """A host that was started. Its Ray may not be up yet."""

    folder: Path
    token: str
    """What Ray asks of everybody who attaches."""
    process: psutil.Process
    child: "subprocess.Popen[bytes] | None" = None
    """Of this process; None for one that was taken over."""

    def driver_environment(self) -> dict[str, str]:
        """What the environment of a driver must have, from its start, to attach."""
        return ray_environment(self.token) | {HOST: str(self.folder)}


class SharedRay:
    """The one of a home. Used by one thread."""

    def __init__(self, home: Path, num_cpus: int, num_gpus: int = 0) -> None:
        self._root = home / "ray"
        self._home_mark = home_mark(home)
        self._num_cpus, self._num_gpus = num_cpus, num_gpus
        self._host: Host | None = None
        self._hold: TextIO | None = None

    def take_over(self, driver_pids: Collection[int]) -> bool:
        """Use the Ray that one of these drivers is on, if there is one, and end every other of this home."""
        used = {marks.environment_of(process).get(HOST, "") for process in _processes(driver_pids)}
        for folder in self._folders():
            host = self._running(folder)
            if self._host is None and host is not None and str(folder) in used and self._held(folder):
                self._host = host
            else:
                self._end(folder)
        return self._host is not None

    def use(self) -> Host:
        """The host, kept from ending until `release`; started where there is none that lives.

        Raises:
            OSError: it cannot be started.
        """
        if self._host is not None and not (marks.lives(self._host.process) and self._held(self._host.folder)):
            self._forget()
        if self._host is None:
            self._host = self._start()
            self._held(self._host.folder)
        return self._host

    def release(self) -> None:
        """Nobody here needs it now: it ends by itself when that stays so."""
        if self._hold is not None:
            self._hold.close()
            self._hold = None

    def stop(self, timeout_s: float = STOP_S) -> None:
        """End it, and whatever it has started."""
        self.release()
        if self._host is None:
            return
        marks.ask_to_stop(self._host.process)
        deadline = time.monotonic() + timeout_s
        while marks.lives(self._host.process) and time.monotonic() < deadline:
            time.sleep(0.05)
        self._forget()

    def _forget(self) -> None:
        self.release()
        if self._host is not None:
            self._end(self._host.folder)
            if self._host.child is not None:
                self._host.child.wait()  # killed, if it had not ended by then
        self._host = None

    def _start(self) -> Host:
        mark, token = uuid.uuid4().hex, secrets.token_hex(32)
        folder = self._root / mark
        folder.mkdir(parents=True, mode=0o700)
        (folder / USERS).touch()
        _write_private(folder / "token", token)
        command = module_command("workers.cluster.ray_host")
        command += ["--folder", str(folder), "--num-cpus", str(self._num_cpus), "--num-gpus", str(self._num_gpus)]
        command += ["--parent-pid", str(os.getpid())]
        environment = child_environment() | ray_environment(token) | {marks.HOME: self._home_mark, marks.RAY: mark}
        with (folder / LOG).open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=tempfile.gettempdir(),
                start_new_session=True,
            )
        (folder / PID).write_text(str(process.pid), encoding="utf-8")
        return Host(folder, token, psutil.Process(process.pid), process)

    def _folders(self) -> list[Path]:
        return sorted(self._root.iterdir()) if self._root.is_dir() else []

    def _running(self, folder: Path) -> Host | None:
        try:
            process = psutil.Process(int((folder / PID).read_text(encoding="utf-8")))
            token = (folder / "token").read_text(encoding="utf-8")
        except (OSError, ValueError, psutil.Error):
            return None
        is_it = marks.environment_of(process).get(marks.RAY) == folder.name and marks.lives(process)
        return Host(folder, token, process) if is_it else None

    def _held(self, folder: Path) -> bool:
        if self._hold is None:
            self._hold = hold(folder)
        return self._hold is not None

    def _end(self, folder: Path) -> None:
        marks.end_marked(marks.RAY, folder.name)
        shutil.rmtree(folder, ignore_errors=True)


def home_mark(home: Path) -> str:
    """The value of marks.HOME for a home."""
    return hashlib.sha256(str(home.resolve()).encode()).hexdigest()[:16]


def hold(folder: Path) -> TextIO | None:
    """A file whose being open keeps the host of that folder from ending; None where it is ending, or gone."""
    deadline = time.monotonic() + LOCK_WAIT_S
    try:
        file = (folder / USERS).open(encoding="utf-8")
    except OSError:
        return None
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return file
        if time.monotonic() >= deadline:
            file.close()
            return None
        time.sleep(0.02)


def host_lives(folder: Path) -> bool:
    """Whether the host of that folder runs, its Ray up or not. True while it is only being started."""
    try:
        process = psutil.Process(int((folder / PID).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return folder.is_dir()
    except psutil.Error:
        return False
    return marks.lives(process)


def last_words(folder: Path) -> str:
    """The end of the host's log."""
    try:
        return (folder / LOG).read_text(encoding="utf-8", errors="replace")[-500:].strip()
    except OSError:
        return "its log is gone"


def _write_private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def _processes(pids: Collection[int]) -> list[psutil.Process]:
    found = []
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            found.append(psutil.Process(pid))
    return found
