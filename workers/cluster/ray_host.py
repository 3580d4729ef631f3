"""`python -m workers.cluster.ray_host`: holds the Ray that the drivers of one service share, until nobody uses it."""

import argparse
import fcntl
import logging
import os
import sys
import time
from pathlib import Path
from typing import TextIO

import ray

from workers.cluster.local_ray import LocalRay
from workers.cluster.ray_processes import RayLost
from workers.cluster.stopping import StopRequest
from workers.launcher import EXIT_DONE, EXIT_RAY_LOST
from workers.shared_ray import FACTS, USERS, HostFacts

log = logging.getLogger("warmup_bench.ray_host")

WATCH_EVERY_S = 0.25
IDLE_S, ORPHAN_IDLE_S = 120.0, 5.0
"""So long nobody may use it before it ends: while the service that started it lives, and afterwards."""


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 asked to end or not used, 5 the Ray is lost."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    folder = Path(options.folder)
    stop = StopRequest()
    stop.listen()
    local = LocalRay(options.num_cpus, options.num_gpus, mark=folder.name)
    users = (folder / USERS).open(encoding="utf-8")  # never closed: see _live
    try:
        local.ready()
        facts = HostFacts(ray.get_runtime_context().gcs_address, folder.name, local.vital)
        facts.write(folder)
        log.info("up at %s with %d cores", facts.address, options.num_cpus)
        _live(local, users, stop, options.parent_pid)
    except RayLost as error:
        log.error("%s", error)
        return EXIT_RAY_LOST
    finally:
        (folder / FACTS).unlink(missing_ok=True)
        local.end()
    return EXIT_DONE


def _live(local: LocalRay, users: TextIO, stop: StopRequest, parent_pid: int) -> None:
    """Return once it is to end."""
    used_at = time.monotonic()
    while not stop.reason:
        stop.keep_listening()
        local.check()
        if _is_free(users):
            allowed_s = IDLE_S if os.getppid() == parent_pid else ORPHAN_IDLE_S
            if time.monotonic() - used_at >= allowed_s:
                # The lock is kept: whoever wants to use this Ray from now on is refused.
                log.info("ending: nobody has used it for %.0f s", allowed_s)
                return
            fcntl.flock(users, fcntl.LOCK_UN)
        else:
            used_at = time.monotonic()
        time.sleep(WATCH_EVERY_S)
    log.info("ending: %s", stop.reason)


def _is_free(users: TextIO) -> bool:
    """Whether nobody uses it; if so, the lock is ours now."""
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m workers.cluster.ray_host", description=__doc__)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--num-cpus", type=int, required=True)
    parser.add_argument("--num-gpus", type=int, default=0)
    parser.add_argument("--parent-pid", type=int, required=True)
    return parser


if __name__ == "__main__":
    status = main()
    if status == EXIT_RAY_LOST:
        os._exit(status)  # Ray's own farewell, at the interpreter's end, would wait for what is dead
    sys.exit(status)
