"""A Ray of this driver's own: started and shut down in the background, so that nothing waits for it without need."""

import logging
import os
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray

OBJECT_STORE_BYTES = 150_000_000
"""Receipts are small and data never passes through Ray."""
TRAINER_ENVIRONMENT = {
    # One intra-op thread per core: the bits of a matrix product depend on how many threads share it.
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
}
"""What every trainer starts with."""


class LocalRay:
    """A Ray that is starting. Make one in the main thread, do something else, then call `ready`."""

    def __init__(self, num_cpus: int) -> None:
        # An empty working folder, so that no folder of the user's is imported by a worker.
        self._empty = tempfile.TemporaryDirectory(prefix="warmup-bench-")
        self._before = Path.cwd()
        os.chdir(self._empty.name)
        # Inherited by every worker. As a runtime environment of the actors it would cost two seconds: the processes that
        # Ray has started in advance could not be used.
        os.environ.update(TRAINER_ENVIRONMENT)
        self._error: BaseException | None = None
        # Not in the main thread: there ray.init would also replace the driver's handler for SIGTERM.
        self._start = threading.Thread(target=self._init, args=[num_cpus], name="ray-start")
        self._start.start()

    def ready(self) -> None:
        """Wait until actors can be made; raises what kept Ray from starting."""
        self._start.join()
        if self._error is not None:
            raise self._error

    def end(self) -> None:
        """Shut it down in the background; the process does not end before that is done."""
        self._start.join()
        os.chdir(self._before)
        threading.Thread(target=self._shutdown, name="ray-end").start()

    def _init(self, num_cpus: int) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ray.init(
                    address="local",
                    num_cpus=num_cpus,
                    include_dashboard=False,
                    log_to_driver=False,
                    configure_logging=True,
                    logging_level=logging.ERROR,
                    object_store_memory=OBJECT_STORE_BYTES,
                    namespace="warmup-bench",
                )
        except BaseException as error:
            self._error = error

    def _shutdown(self) -> None:
        ray.shutdown()
        self._empty.cleanup()


@contextmanager
def local_ray(num_cpus: int) -> Iterator[LocalRay]:
    """`ray.init(address="local")` under way; shut down afterwards."""
    local = LocalRay(num_cpus)
    try:
        yield local
    finally:
        local.end()
