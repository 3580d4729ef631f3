"""A driver's way into the Ray that it shares with other drivers: a namespace and actors of its own, nothing else."""

import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray

from workers.cluster.local_ray import BackgroundRay
from workers.cluster.ray_processes import RayLost, RayProcesses
from workers.shared_ray import HostFacts, hold, host_lives, last_words

log = logging.getLogger("warmup_bench.driver")

UP_S = 90.0
"""A Ray takes some seconds to start, on a machine that is busy many."""
POLL_S = 0.1


class AttachedRay(BackgroundRay):
    """The Ray of a host, as LocalRay. Its end lets go of it: actors that this driver made are ended by it."""

    def __init__(self, folder: Path, namespace: str) -> None:
        """`folder`: the host's, whose Ray may not be up yet."""
        self._folder, self._namespace = folder, namespace
        super().__init__(RayProcesses.of_another("", {}))

    def _init(self) -> None:
        # Held until this process ends: the host then knows that it is used.
        self._hold = hold(self._folder)
        facts = self._facts()
        self._processes = RayProcesses.of_another(facts.mark, facts.vital)
        try:
            self._attach(facts.address)
        except Exception as error:
            if self._processes.gone() or not host_lives(self._folder):
                raise RayLost("the shared Ray has ended while the driver attached to it") from error
            raise

    def _attach(self, address: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ray.init(
                address=address,
                log_to_driver=False,
                configure_logging=True,
                logging_level=logging.ERROR,
                namespace=self._namespace,
            )

    def _facts(self) -> HostFacts:
        deadline = time.monotonic() + UP_S
        while self._hold is not None and time.monotonic() < deadline and not self._is_over.is_set():
            facts = HostFacts.read(self._folder)
            if facts is not None:
                return facts
            if not host_lives(self._folder):
                break
            time.sleep(POLL_S)
        # Here alone: what is raised becomes the study's reason, and this says nothing to who reads that.
        log.error("the end of the log of the shared Ray: %s", last_words(self._folder))
        raise RayLost("the shared Ray did not start, or has ended")


@contextmanager
def attached_ray(folder: Path, namespace: str) -> Iterator[AttachedRay]:
    """Attaching under way; let go of afterwards."""
    attached = AttachedRay(folder, namespace)
    try:
        yield attached
    finally:
        attached.end()
