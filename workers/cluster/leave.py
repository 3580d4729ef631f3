"""`python -m workers.cluster.leave`: asks the drivers on this node to stop, because the node is about to go.

For a node's preStop hook. Each driver lets its trainers save, queues its study, and ends; another node continues it:
meanwhile Ray starts nothing here any more. The trainers that drivers of other nodes have here are lost with the node:
their packs go on elsewhere from their last checkpoint.
"""

import argparse
import sys
import time

import psutil

from workers import marks
from workers.cluster.draining import Draining

WAIT_S = 60.0
POLL_S = 0.2
LOOK_AGAIN_S = 2.0
"""A driver that was on its way when the node was closed is asked, too."""


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 no driver is left, 1 one had not ended in time."""
    options = _parser().parse_args(arguments)
    deadline = time.monotonic() + options.wait_s
    asked: list[psutil.Process] = []
    # A node without drivers is about to go at once, and Ray closes it itself when it is told to end.
    with Draining(options.wait_s) as draining:
        looks_from = time.monotonic()
        while True:
            if time.monotonic() >= looks_from:
                new = [driver for driver in marks.marked(marks.DRIVER, marks.IS_DRIVER) if driver not in asked]
                draining.begin(new)
                for driver in new:
                    marks.ask_to_stop(driver)
                asked += new
                looks_from = time.monotonic() + LOOK_AGAIN_S
            left = [driver for driver in asked if marks.lives(driver)]
            if not left or time.monotonic() >= deadline:
                break
            time.sleep(POLL_S)
    sys.stderr.write(f"{len(asked) - len(left)} of {len(asked)} drivers on this node have saved and ended\n")
    return 1 if left else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m workers.cluster.leave", description=__doc__)
    parser.add_argument("--wait-s", type=float, default=WAIT_S, help="how long to wait until they have saved")
    return parser


if __name__ == "__main__":
    sys.exit(main())
