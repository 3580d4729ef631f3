"""A Ray of this driver's own: started and shut down in the background, so that nothing waits for it without need."""

import gc
import logging
import os
import shutil
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import ray

from workers.cluster.facts import TRAINER_ENVIRONMENT
from workers.cluster.ray_processes import RayLost, RayProcesses
from workers.launcher import EXIT_RAY_LOST

log = logging.getLogger("warmup_bench.driver")

PREFIX = "warmup-bench-"
OBJECT_STORE_BYTES = 150_000_000
"""Receipts are small and data never passes through Ray."""
WATCH_EVERY_S = 0.5
LOST_GRACE_S = 10.0
"""So long the driver may take to note that its Ray is lost; a call to Ray that does not come back must not hold it."""
LONGEST_FOLDER = 40
"""Ray's sockets lie some 60 characters below its folder, and a socket's path may have about 107."""


class BackgroundRay:
    """A Ray that is starting. Make one in the main thread, do something else, then call `ready`.

    One thread starts it, waits and shuts it down. Not the main thread: there `ray.init` would replace the driver's
    handler for SIGTERM. And not a thread that ends in between: the kernel kills Ray's processes when the thread that
    started them ends, which is what leaves none of them behind when a driver is killed.
    """

    _lost_grace_s = LOST_GRACE_S

    def __init__(self, processes: RayProcesses) -> None:
        # An empty working folder, so that no folder of the user's is imported by a worker.
        _remove_leftovers()
        self._empty = tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-", ignore_cleanup_errors=True)
        self._before = Path.cwd()
        os.chdir(self._empty.name)
        self._processes = processes
        self._error: BaseException | None = None
        self._is_up, self._is_over = threading.Event(), threading.Event()
        threading.Thread(target=self._live, name="ray").start()

    def ready(self, timeout_s: float | None = None) -> bool:
        """Wait until actors can be made, `timeout_s` at most.

        Raises:
            RayLost: it did not start. On a busy machine that is a matter of time: the next driver may have more luck.
        """
        is_up = self._is_up.wait(timeout_s)
        if isinstance(self._error, RayLost):
            raise self._error
        if self._error is not None:
            log.error("Ray did not start", exc_info=self._error)
            self._processes.kill()
            raise RayLost("Ray did not start") from self._error
        return is_up

    def check(self) -> None:
        """Do nothing while Ray lives; otherwise as RayProcesses.check. Returns at once.

        Raises:
            RayLost: it has ended, with all that it had started.
        """
        self._processes.check()

    def end(self) -> None:
        """Shut it down in the background; the process does not end before that is done.

        Let go of handles and references before: Ray ends the process where one of them is freed during the shutdown.
        """
        # What a trainer's death has left in a cycle of error and frames is freed now, not whenever Python comes to it.
        gc.collect()
        os.chdir(self._before)
        self._is_over.set()

    def _init(self) -> None:
        """Start it, or attach to it."""
        raise NotImplementedError

    def _live(self) -> None:
        try:
            self._init()
        except BaseException as error:
            self._error = error
        self._is_up.set()
        while not self._is_over.wait(WATCH_EVERY_S) and not self._processes.gone():
            pass
        if self._processes.gone():
            self._end_lost()
        else:
            self._shut_down()
        self._empty.cleanup()

    def _shut_down(self) -> None:
        ray.shutdown()

    def _end_lost(self) -> None:
        # Nothing to say goodbye to: a shutdown would wait for what is dead.
        self._processes.kill()
        if not self._is_over.wait(self._lost_grace_s):
            log.error("its Ray is lost, and a call to it does not return: ending this process")
            os._exit(EXIT_RAY_LOST)


class LocalRay(BackgroundRay):
    """A Ray of this process's own."""

    def __init__(self, num_cpus: int, num_gpus: int = 0, *, mark: str | None = None) -> None:
        """`mark`: what its processes are told by; one is made up where none is given."""
        # Inherited by every worker. As a runtime environment of the actors it would cost two seconds: the processes
        # that Ray has started in advance could not be used.
        os.environ.update(TRAINER_ENVIRONMENT)
        self._num_cpus, self._num_gpus = num_cpus, num_gpus
        super().__init__(RayProcesses(mark))

    @property
    def vital(self) -> dict[str, tuple[int, float]]:
        """As RayProcesses.vital."""
        return self._processes.vital

    def _init(self) -> None:
        folder = self._empty.name
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ray.init(
                    address="local",
                    num_cpus=self._num_cpus,
                    num_gpus=self._num_gpus,
                    include_dashboard=False,
                    log_to_driver=False,
                    configure_logging=True,
                    logging_level=logging.ERROR,
                    object_store_memory=OBJECT_STORE_BYTES,
                    namespace="warmup-bench",
                    _temp_dir=folder if len(folder) <= LONGEST_FOLDER else None,
                )
        finally:
            self._processes.found()

    def _shut_down(self) -> None:
        super()._shut_down()
        self._processes.kill()  # its agents take seconds to see that nobody needs them


def _remove_leftovers() -> None:
    """Remove the folders of drivers that were killed, told by the process id in the name."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
        pid = folder.name.removeprefix(PREFIX).partition("-")[0]
        if pid.isdecimal() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)  # another user's stays


@contextmanager
def local_ray(num_cpus: int, num_gpus: int = 0) -> Iterator[LocalRay]:
    """`ray.init(address="local")` under way; shut down afterwards."""
    local = LocalRay(num_cpus, num_gpus)
    try:
        yield local
    finally:
        local.end()
