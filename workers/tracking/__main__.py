"""`python -m workers.tracking --study ID`: publishes what the tracker does not have yet. Needs no Ray."""

import argparse
import logging
import os
import signal
import sys
import threading

from schemas.errors import StaleFence, WarmupBenchError
from workers.ledger.ledger import Ledger
from workers.places import Places
from workers.tracking.loop import PublishingState, run_publisher
from workers.tracking.places import open_tracker
from workers.tracking.publisher import Publisher
from workers.tracking.source import LedgerSource

log = logging.getLogger("warmup_bench.tracking")

EXIT_CURRENT, EXIT_FAILED, EXIT_BEHIND = 0, 1, 3


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 the tracker has everything, 3 it is behind, 1 failed."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    places = Places.resolve(
        home=options.home, records=options.records, data=options.data, tracking_uri=options.tracking_uri
    )
    if places.tracking_uri is None:
        return EXIT_CURRENT
    stop = threading.Event()
    if not options.follow:
        stop.set()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        with Ledger.open(places.home) as ledger:
            state = _publish(ledger, options, places, stop)
    except StaleFence as error:
        log.warning("%s", error)
        return EXIT_BEHIND
    except WarmupBenchError as error:
        log.error("%s", error)
        return EXIT_FAILED
    return EXIT_CURRENT if state is PublishingState.CURRENT else EXIT_BEHIND


def _publish(ledger: Ledger, options: argparse.Namespace, places: Places, stop: threading.Event) -> PublishingState:
    tracker = open_tracker(places.tracking_uri, places.home)
    assert tracker is not None
    source = LedgerSource(
        ledger,
        options.study,
        places,
        stop,
        should_stop=lambda: options.parent_pid is not None and os.getppid() != options.parent_pid,
    )
    return run_publisher(source, Publisher(tracker), stop, poll_s=0.5, while_it_moves=not options.follow)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m workers.tracking", description=__doc__)
    parser.add_argument("--study", required=True)
    parser.add_argument("--home")
    parser.add_argument("--records")
    parser.add_argument("--data")
    parser.add_argument("--tracking-uri")
    parser.add_argument("--follow", action="store_true", help="until the study is final; else once")
    parser.add_argument("--parent-pid", type=int)
    return parser


if __name__ == "__main__":
    sys.exit(main())
