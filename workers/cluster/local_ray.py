"""A Ray of this driver's own: started, and shut down with it."""

import logging
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ray

OBJECT_STORE_BYTES = 150_000_000
"""Receipts are small and data never passes through Ray."""


@contextmanager
def local_ray(num_cpus: int) -> Iterator[None]:
    """`ray.init(address="local")` in an empty working folder, so that no folder of the user's is imported by a worker."""
    with tempfile.TemporaryDirectory(prefix="warmup-bench-") as empty:
        before = Path.cwd()
        os.chdir(empty)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ray.init(
                    address="local",
                    num_cpus=num_cpus,
                    include_dashboard=False,
                    log_to_driver=False,
                    configure_logging=True,
                    logging_level=logging.WARNING,
                    object_store_memory=OBJECT_STORE_BYTES,
                    namespace="warmup-bench",
                )
            yield
        finally:
            ray.shutdown()
            os.chdir(before)
