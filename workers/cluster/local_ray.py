"""A Ray of this driver's own: started and shut down in the background, so that nothing waits for it without need."""

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

PREFIX = "warmup-bench-"
OBJECT_STORE_BYTES = 150_000_000
"""Receipts are small and data never passes through Ray."""
LONGEST_FOLDER = 40
"""Ray's sockets lie some 60 characters below its folder, and a socket's path may have about 107."""
TRAINER_ENVIRONMENT = {
    # One intra-op thread per core: the bits of a matrix product depend on how many threads share it.
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
}
"""What every trainer starts with."""


class LocalRay:
    """A Ray that is starting. Make one in the main thread, do something else, then call `ready`.

    One thread starts it, waits and shuts it down. Not the main thread: there `ray.init` would replace the driver's
    handler for SIGTERM. And not a thread that ends in between: the kernel kills Ray's processes when the thread that
    started them ends, which is what leaves none of them behind when a driver is killed.
    """

    def __init__(self, num_cpus: int, num_gpus: int = 0) -> None:
        # An empty working folder, so that no folder of the user's is imported by a worker.
        _remove_leftovers()
        self._empty = tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-", ignore_cleanup_errors=True)
        self._before = Path.cwd()
        os.chdir(self._empty.name)
        # Inherited by every worker. As a runtime environment of the actors it would cost two seconds: the processes
        # that Ray has started in advance could not be used.
        os.environ.update(TRAINER_ENVIRONMENT)
        self._error: BaseException | None = None
        self._is_up, self._is_over = threading.Event(), threading.Event()
        threading.Thread(target=self._live, args=[num_cpus, num_gpus], name="ray").start()

    def ready(self) -> None:
        """Wait until actors can be made; raises what kept Ray from starting."""
        self._is_up.wait()
        if self._error is not None:
            raise self._error

    def end(self) -> None:
        """Shut it down in the background; the process does not end before that is done."""
        os.chdir(self._before)
        self._is_over.set()

    def _live(self, num_cpus: int, num_gpus: int) -> None:
        try:
            self._init(num_cpus, num_gpus)
        except BaseException as error:
            self._error = error
        self._is_up.set()
        self._is_over.wait()
        ray.shutdown()
        self._empty.cleanup()

    def _init(self, num_cpus: int, num_gpus: int) -> None:
        folder = self._empty.name
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ray.init(
                address="local",
                num_cpus=num_cpus,
                num_gpus=num_gpus,
                include_dashboard=False,
                log_to_driver=False,
                configure_logging=True,
                logging_level=logging.ERROR,
                object_store_memory=OBJECT_STORE_BYTES,
                namespace="warmup-bench",
                _temp_dir=folder if len(folder) <= LONGEST_FOLDER else None,
            )


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
