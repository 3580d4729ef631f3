"""Containers without an engine: each process tree in network, mount, process and host name namespaces of its own.

A container reaches another one by its name where both are in a network, as with Docker; nothing else can be reached,
the machine's own loopback neither. Linux, root and `ip` are needed.
"""

import ctypes
import os
import secrets
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

NEEDED = ("ip", "unshare", "nsenter", "setpriv", "mount", "wget")
USER = "10001"
"""As in the image; no user of the machine's."""
CLONE_NEWNET = 0x40000000
RESTART_S = 1.0
MOST_STARTS = 10
"""A container that has ended so often will not come up."""

_START = """
set -e
hostname "$NAME"
mount --make-rprivate /
mount -t tmpfs -o mode=0755 mnt /mnt
for pair in $MOUNTS; do
    mkdir -p "/mnt/${pair%%=*}"; mount --bind "${pair#*=}" "/mnt/${pair%%=*}"
done
mkdir -p /mnt/etc && cp "$HOSTS" /mnt/etc/hosts && chmod 0644 /mnt/etc/hosts && mount --bind /mnt/etc/hosts /etc/hosts
cp /etc/passwd /mnt/etc/ && echo "warmup-bench:x:$USER_ID:$USER_ID::/var/lib/warmup-bench:/bin/false" >> /mnt/etc/passwd
mount --bind /mnt/etc/passwd /etc/passwd
mount -t tmpfs -o mode=0755 run /run && mkdir /run/secrets
for secret in $SECRETS; do cp "$secret" /run/secrets/ && chmod 0444 "/run/secrets/$(basename "$secret")"; done
mount -t tmpfs -o mode=0755 lib /var/lib
install -d -o $USER_ID -g $USER_ID -m 0700 /var/lib/warmup-bench
mount -t tmpfs -o mode=1777 tmp /tmp
mount -t tmpfs -o mode=1777 shm /dev/shm
cd /var/lib/warmup-bench
# An init: hands signals on, and waits for whatever is left to it.
env -i -- "$@" &
child=$!
trap 'kill -TERM $child 2>/dev/null' TERM INT
status=0
while kill -0 $child 2>/dev/null; do wait $child && status=0 || status=$?; done
exit $status
"""


def why_not() -> str:
    """Why this machine cannot have such containers; empty where it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs Linux and root"
    if missing := [name for name in NEEDED if not _which(name)]:
        return f"needs {', '.join(missing)}"
    name = f"wb-{secrets.token_hex(3)}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False)
    if made.returncode:
        return "this machine allows no network namespaces"
    try:
        mounts = "mount --make-rprivate / && mount -t tmpfs mnt /mnt"
        command = ["ip", "netns", "exec", name, "unshare", "--mount", "--pid", "--uts", "--fork", "sh", "-c", mounts]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            return "this machine allows no mounts in a namespace"
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False)
    return ""


def _which(name: str) -> bool:
    return any(os.access(Path(folder) / name, os.X_OK) for folder in os.environ["PATH"].split(":"))


@dataclass
class Container:
    """One of a fleet. `hosts`: what its names resolve to, written before it starts."""

    name: str
    namespace: str
    command: Sequence[str]
    environment: Mapping[str, str]
    secrets: Sequence[Path]
    mounts: Mapping[str, Path]
    """Folder below /mnt -> what is mounted there."""
    restarts: bool
    is_root: bool
    """Only where nobody else on this machine may run this Python; in the image nothing is."""
    log: Path
    hosts: Path
    addresses: dict[str, str] = field(default_factory=dict)
    """Network -> address."""
    process: "subprocess.Popen[bytes] | None" = None
    num_starts: int = 0

    def start(self) -> None:
        """Start it, in its namespaces."""
        given = {
            "PATH": os.environ["PATH"],
            "NAME": self.name,
            "HOSTS": str(self.hosts),
            "SECRETS": " ".join(map(str, self.secrets)),
            "MOUNTS": " ".join(f"{name}={path}" for name, path in self.mounts.items()),
            "USER_ID": USER,
        }
        command = ["ip", "netns", "exec", self.namespace, "unshare", "--mount", "--uts", "--pid", "--fork"]
        command += ["--kill-child", "--mount-proc", "sh", "-c", _START, "container"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *self._settings(), *self.command],
                env=given,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.num_starts += 1

    def _settings(self) -> list[str]:
        user = [] if self.is_root else _AS_USER
        return [*(f"{name}={value}" for name, value in self.environment.items()), *user]

    @property
    def is_running(self) -> bool:
        """Whether its command has not ended."""
        return self.process is not None and self.process.poll() is None

    def run(self, command: Sequence[str], *, timeout_s: float = 120.0) -> "subprocess.CompletedProcess[str]":
        """Run one more command in it, as `docker exec` does."""
        assert self.process is not None
        enter = ["nsenter", f"--target={self._init()}", "--net", "--mount", "--pid", "--uts", "--wd=/tmp"]
        line = [*enter, "env", "-i", *self._settings(), *command]
        return subprocess.run(line, capture_output=True, text=True, timeout=timeout_s, check=False)

    def kill(self) -> None:
        """`kill -9` of all that runs in it."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.kill(self._init(), signal.SIGKILL)
            self.process.kill()
            self.process.wait()

    def stop(self, grace_s: float) -> None:
        """SIGTERM, and what still runs after `grace_s` is killed."""
        if self.is_running and self.process is not None:
            with suppress(ProcessLookupError):
                os.kill(self._init(), signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(grace_s)
        self.kill()

    def _init(self) -> int:
        """Process id of the first process in it."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        with suppress(OSError, IndexError):
            return int(children.read_text().split()[0])
        raise ProcessLookupError(self.name)


_AS_USER = ["setpriv", "--reuid", USER, "--regid", USER, "--clear-groups", "--no-new-privs", "--bounding-set=-all"]


@cache
def needs_root() -> bool:
    """Whether another user cannot run this Python: its installation lies in root's home, say."""
    reach = [*_AS_USER, "sh", "-c", f"{shlex.quote(sys.executable)} -c 'import ray'"]
    return subprocess.run(reach, capture_output=True, check=False, cwd="/").returncode != 0


class Fleet:
    """Containers and their networks; what has ended and is to be restarted is."""

    def __init__(self, folder: Path, networks: Sequence[str]) -> None:
        self._folder, self._mark = folder, f"wb{secrets.token_hex(3)}"
        self.containers: dict[str, Container] = {}
        self._numbers = {name: number for number, name in enumerate(networks)}
        self._held: set[str] = set()
        self._is_over = threading.Event()
        self._lock = threading.Lock()
        self._hub = f"{self._mark}-hub"
        _ip("netns", "add", self._hub)
        for number in self._numbers.values():
            _ip("-n", self._hub, "link", "add", f"net{number}", "type", "bridge")
            _ip("-n", self._hub, "link", "set", f"net{number}", "up")
        self._minding = threading.Thread(target=self._mind, name="fleet")
        self._minding.start()

    def add(
        self,
        name: str,
        networks: Sequence[str],
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        secret_files: Sequence[Path] = (),
        mounts: Mapping[str, Path] | None = None,
        restarts: bool = True,
        is_root: bool = False,
    ) -> Container:
        """A container that has not been started yet. All are added before one is started, so that names are known."""
        index, namespace = len(self.containers) + 2, f"{self._mark}-{len(self.containers)}"
        _ip("netns", "add", namespace)
        _ip("-n", namespace, "link", "set", "lo", "up")
        container = Container(
            name, namespace, command, environment, secret_files, mounts or {}, restarts, is_root,
            self._folder / f"{name}.log", self._folder / f"{name}.hosts",
        )  # fmt: skip
        for network in networks:
            number = self._numbers[network]
            inner, outer = f"eth{number}", f"v{number}n{index}"
            _ip("-n", self._hub, "link", "add", outer, "type", "veth", "peer", "name", inner, "netns", namespace)
            _ip("-n", self._hub, "link", "set", outer, "master", f"net{number}", "up")
            container.addresses[network] = f"10.98.{number}.{index}"
            _ip("-n", namespace, "addr", "add", f"{container.addresses[network]}/24", "dev", inner)
            _ip("-n", namespace, "link", "set", inner, "up")
        self.containers[name] = container
        return container

    def start(self, name: str) -> Container:
        """Start one."""
        container = self.containers[name]
        container.hosts.write_text(self._hosts_of(container), encoding="utf-8")
        with self._lock:
            self._held.discard(name)
            container.start()
        return container

    def _hosts_of(self, container: Container) -> str:
        lines = ["127.0.0.1 localhost", *(f"{address} {container.name}" for address in container.addresses.values())]
        for other in self.containers.values():
            shared = [network for network in container.addresses if network in other.addresses]
            if other is not container and shared:
                lines.append(f"{other.addresses[shared[0]]} {other.name}")
        return "\n".join(lines) + "\n"

    def kill(self, name: str) -> None:
        """`kill -9`; it comes back by itself where it restarts."""
        self.containers[name].kill()

    def stop(self, name: str, grace_s: float = 60.0) -> None:
        """As `docker compose stop`: it stays away until it is started."""
        with self._lock:
            self._held.add(name)
        self.containers[name].stop(grace_s)

    @contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """This thread's new sockets are those of a container, until the end of the block."""
        libc = ctypes.CDLL(None, use_errno=True)
        with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{self.containers[name].namespace}") as there:
            _set_namespace(libc, there.fileno())
            try:
                yield
            finally:
                _set_namespace(libc, home.fileno())

    def end(self) -> None:
        """End everything, and leave nothing."""
        self._is_over.set()
        self._minding.join()
        for container in self.containers.values():
            container.kill()
        for container in self.containers.values():
            _ip("netns", "del", container.namespace)
        _ip("netns", "del", self._hub)

    def _mind(self) -> None:
        while not self._is_over.wait(RESTART_S):
            with self._lock:
                for name, container in self.containers.items():
                    was_started = container.process is not None and name not in self._held
                    if was_started and container.restarts and not container.is_running:
                        container.start()

    def wait_for(self, name: str, command: Sequence[str], timeout_s: float) -> None:
        """Until the command succeeds in the container: its health check, say."""
        deadline = time.monotonic() + timeout_s
        while True:
            container, said = self.containers[name], "it does not run"
            with suppress(ProcessLookupError, AssertionError, subprocess.TimeoutExpired):
                done = container.run(command, timeout_s=30.0)
                if done.returncode == 0:
                    return
                said = (done.stdout + done.stderr)[-500:]
            if time.monotonic() > deadline or container.num_starts >= MOST_STARTS:
                tail = container.log.read_text(errors="replace")[-3000:]
                raise AssertionError(f"{name}: {shlex.join(command)} fails: {said}; its log ends: {tail}")
            time.sleep(0.5)


def _set_namespace(libc: ctypes.CDLL, descriptor: int) -> None:
    if libc.setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
