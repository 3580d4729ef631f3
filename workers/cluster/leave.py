"""`python -m workers.cluster.leave`: asks the drivers on this node to stop, because the node is about to go.

For a node's preStop hook. Each driver lets its trainers save, queues its study, and ends; another node continues it.
The trainers that drivers of other nodes have here are lost with the node: their packs go on elsewhere from their last
checkpoint.
"""

import argparse
import sys
import time

from workers import marks

WAIT_S = 60.0
POLL_S = 0.2


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 no driver is left, 1 one had not ended in time."""
    options = _parser().parse_args(arguments)
    drivers = list(marks.marked(marks.DRIVER, marks.IS_DRIVER))
    for driver in drivers:
        marks.ask_to_stop(driver)
    deadline = time.monotonic() + options.wait_s
    while (left := [driver for driver in drivers if marks.lives(driver)]) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    sys.stderr.write(f"{len(drivers) - len(left)} of {len(drivers)} drivers on this node have saved and ended\n")
    return 1 if left else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m workers.cluster.leave", description=__doc__)
    parser.add_argument("--wait-s", type=float, default=WAIT_S, help="how long to wait until they have saved")
    return parser


if __name__ == "__main__":
    sys.exit(main())
