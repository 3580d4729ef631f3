"""A driver's way into the Ray cluster that its node is part of: a namespace and actors of its own, nothing else."""

import logging
import os
import re
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil
import ray

from workers import marks
from workers.cluster.local_ray import LOST_GRACE_S, BackgroundRay
from workers.cluster.ray_processes import RayLost, RayProcesses

log = logging.getLogger("warmup_bench.driver")

UP_S = 90.0
"""So long attaching may take: Ray itself gives a head up that does not answer after some 20 s, a wrong token too."""
RAY_GIVES_UP_S = "RAY_gcs_rpc_server_reconnect_timeout_s"
"""Ray's own variable: so long a head may be away before Ray ends its processes, this one included."""
DEFAULT_GIVES_UP_S = 60.0
HEAD_AWAY_SHARE = 0.75
"""A driver gives its head up after this part of it, while it can still say so: 45 s. A head that is back by then, as
one whose state is durable, was never lost."""
ASK_EVERY_S = 2.0


def head_away_s() -> float:
    """Seconds that the head may be away."""
    return HEAD_AWAY_SHARE * float(os.environ.get(RAY_GIVES_UP_S) or DEFAULT_GIVES_UP_S)


class CannotAttach(RayLost):
    """The cluster will not have a driver of this node: another token, another version. That is no study's doing."""


class Head:
    """Whether the head answers: a connection to its GCS is made every two seconds. Never asked through Ray, whose calls
    may not come back.
    """

    def __init__(self, address: str, away_s: float, answers: Callable[[str], bool] | None = None) -> None:
        self._address, self._away_s = address, away_s
        self._answers = answers or _answers
        self._seen_at = time.monotonic()
        self._is_over = threading.Event()
        threading.Thread(target=self._ask, name="head", daemon=True).start()

    @property
    def is_lost(self) -> bool:
        """Whether it has been away for too long."""
        return time.monotonic() - self._seen_at >= self._away_s

    def __str__(self) -> str:
        return f"the cluster's head at {self._address} has not answered for {self._away_s:.0f} s"

    def stop(self) -> None:
        """Ask no more."""
        self._is_over.set()

    def _ask(self) -> None:
        was_away = False
        while not self._is_over.wait(min(ASK_EVERY_S, self._away_s / 4)):
            if self._answers(self._address):
                self._seen_at, was_away = time.monotonic(), False
            elif not was_away:
                log.warning("the cluster's head at %s does not answer; what trains goes on", self._address)
                was_away = True


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ASK_EVERY_S).close()
    except OSError:
        return False
    return True


class ClusterProcesses(RayProcesses):
    """What a driver cannot do without: the raylet of its node, and the head. It ends nothing that is the cluster's."""

    def __init__(self, raylet: psutil.Process, head: Head) -> None:
        self._raylet, self._head = raylet, head

    def gone(self) -> str:
        """What is lost; empty while nothing is."""
        if not marks.lives(self._raylet):
            return "the raylet of its node has ended"
        return str(self._head) if self._head.is_lost else ""

    def check(self) -> None:
        """As RayProcesses.check."""
        if what := self.gone():
            raise RayLost(f"its Ray is lost: {what}")

    def kill(self) -> None:
        """Nothing: other drivers use them."""


class ClusterRay(BackgroundRay):
    """The cluster of this node, as LocalRay. Its end lets go of it: actors that this driver made are ended by it."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace
        self._deadline = time.monotonic() + UP_S
        self._lost_grace_s = min(LOST_GRACE_S, head_away_s() / 4.5)  # before Ray itself ends this process
        self._head: Head | None = None
        super().__init__(RayProcesses.of_another("", {}))

    def ready(self, timeout_s: float | None = None) -> bool:
        """As BackgroundRay.ready; it gives up by itself after a while."""
        is_up = super().ready(timeout_s)
        if not is_up and time.monotonic() >= self._deadline:
            raise CannotAttach(
                f"the Ray cluster of this node could not be attached to in {UP_S:.0f} s; {_WHAT_TO_CHECK}"
            )
        return is_up

    def _init(self) -> None:
        try:
            self._attach()
        except Exception as error:
            ended = "the Ray cluster of this node cannot be attached to"
            raise CannotAttach(f"{ended}: {_first_cause(error)}; {_WHAT_TO_CHECK}") from error
        self._head = Head(ray.get_runtime_context().gcs_address, head_away_s())
        self._processes = ClusterProcesses(_raylet(), self._head)

    def _attach(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ray.init(
                address="auto",
                log_to_driver=False,
                configure_logging=True,
                logging_level=logging.ERROR,
                namespace=self._namespace,
            )

    def _shut_down(self) -> None:
        if self._head is not None:
            self._head.stop()
        super()._shut_down()


_WHAT_TO_CHECK = (
    "check RAY_ADDRESS, the token (RAY_AUTH_MODE, RAY_AUTH_TOKEN_PATH), and that Ray and Python are of the same version"
    " on all nodes"
)


def _first_cause(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    versions = re.findall(r"^ *(?:Ray|Python): (\S+)", str(error), re.MULTILINE)
    if len(versions) == 4:  # Ray's words for it take six lines, and name addresses
        there, here = (f"Ray {versions[index]} and Python {versions[index + 1]}" for index in (0, 2))
        return f"its head has {there}, this node's driver {here}"
    # Ray wraps a remote traceback into the text: what went wrong is its last line.
    return (lines[-1] if lines else type(error).__name__)[:300]


def _raylet() -> psutil.Process:
    """The raylet that this process is attached to, told by its socket: several may be on one machine."""
    socket_name = ray._private.worker.global_worker.node.raylet_socket_name
    for process in psutil.process_iter():
        try:
            if process.name() == "raylet" and f"--raylet_socket_name={socket_name}" in process.cmdline():
                return process
        except psutil.Error:
            continue
    raise RayLost("its Ray is lost: the raylet of its node has ended while the driver attached to it")


@contextmanager
def cluster_ray(namespace: str) -> Iterator[ClusterRay]:
    """Attaching under way; let go of afterwards."""
    attached = ClusterRay(namespace)
    try:
        yield attached
    finally:
        attached.end()
