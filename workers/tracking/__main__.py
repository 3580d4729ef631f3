"""`python -m workers.tracking --study ID`, or several: publishes what the tracker does not have yet. Needs no Ray."""

import argparse
import fcntl
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import stamina

from schemas.errors import StaleFence, WarmupBenchError
from workers.ledger.ledger import Ledger
from workers.places import LEDGER, Places, database_url
from workers.tracking.loop import PublishingState, run_publisher
from workers.tracking.places import open_tracker
from workers.tracking.publisher import Publisher
from workers.tracking.source import LedgerSource

log = logging.getLogger("warmup_bench.tracking")

EXIT_CURRENT, EXIT_FAILED, EXIT_BEHIND = 0, 1, 3
LOCK_WAIT_S = 15.0
"""A predecessor whose driver was killed ends within a second or two."""


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 the tracker has everything, 3 it is behind, 1 failed."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)  # MLflow's, which says what it finds at every start
    # One line is said of a tracker that is down (LedgerSource.report), not one of each try.
    stamina.instrumentation.set_on_retry_hooks([])
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    places = Places.resolve(
        home=options.home,
        records=options.records,
        data=options.data,
        tracking_uri=options.tracking_uri,
        ledger=os.environ.get(LEDGER) or database_url(),
    )
    if places.tracking_uri is None:
        return EXIT_CURRENT
    stop = threading.Event()
    if not options.follow:
        stop.set()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    if options.parent_pid is not None:
        _end_with(options.parent_pid)
    try:
        with Ledger.open(places.ledger) as ledger:
            # All of them, whatever becomes of one; the worst says how it went.
            return max([_publish(ledger, study_id, places, stop, follow=options.follow) for study_id in options.study])
    except WarmupBenchError as error:
        log.error("%s", error)
        return EXIT_FAILED


def _publish(ledger: Ledger, study_id: str, places: Places, stop: threading.Event, *, follow: bool) -> int:
    tracker = open_tracker(places.tracking_uri, places.home)
    assert tracker is not None
    try:
        with _alone(places, study_id) as is_alone:
            if not is_alone:
                log.warning("study %s: another process is publishing it", study_id)
                return EXIT_BEHIND
            source = LedgerSource(ledger, study_id, places, stop)
            publisher = Publisher(tracker)
            state = run_publisher(source, publisher, stop, poll_s=0.5, while_it_moves=not follow)
            if state is PublishingState.CURRENT and source.had_predecessor:
                # One that was killed may have made a run that it was not able to acknowledge.
                publisher.discard_duplicates(source.acknowledged())
    except StaleFence as error:
        log.warning("%s", error)
        return EXIT_BEHIND
    except WarmupBenchError as error:
        # What it could not read it cannot have published, whatever was said of the study before.
        log.error("study %s: %s", study_id, error)
        ledger.set_publishing(study_id, "behind", reason=str(error))
        return EXIT_FAILED
    return EXIT_CURRENT if state is PublishingState.CURRENT else EXIT_BEHIND


def _end_with(parent_pid: int) -> None:
    """End this process when its driver is gone: the next driver's publisher goes on from what was acknowledged."""

    def watch() -> None:
        while os.getppid() == parent_pid:
            time.sleep(0.5)
        os._exit(EXIT_BEHIND)

    threading.Thread(target=watch, name="parent", daemon=True).start()


@contextmanager
def _alone(places: Places, study_id: str) -> Iterator[bool]:
    """Whether this is the study's only publisher: two at once could make two runs of one key."""
    folder = places.home / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + LOCK_WAIT_S
    with (folder / f"{study_id}.publishing").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    yield False
                    return
                time.sleep(0.2)
            else:
                yield True
                return


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m workers.tracking", description=__doc__)
    parser.add_argument("--study", required=True, action="append")
    parser.add_argument("--home")
    parser.add_argument("--records")
    parser.add_argument("--data")
    parser.add_argument("--tracking-uri")
    parser.add_argument("--follow", action="store_true", help="until the study is final; else once")
    parser.add_argument("--parent-pid", type=int)
    return parser


if __name__ == "__main__":
    sys.exit(main())
