"""`python -m workers.cluster --study ID`: the driver of one study, from its plan to its report."""

import argparse
import logging
import sys

from schemas.errors import StaleFence, WarmupBenchError
from schemas.trials import TrialState
from workers.cluster.driver import Driver, Stop
from workers.cluster.heartbeat import Heartbeat
from workers.cores import num_cores
from workers.launcher import Driver as Child
from workers.launcher import start_publisher
from workers.ledger.ledger import Ledger
from workers.places import Places
from workers.results import write_results

log = logging.getLogger("warmup_bench.driver")

EXIT_DONE, EXIT_FAILED, EXIT_STOPPED, EXIT_NOT_MINE = 0, 1, 3, 4
PUBLISHER_DRAIN_S = 75.0
"""The publisher drains for a minute; a little more for its last call."""


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 final, 1 failed, 3 stopped and to be continued, 4 another driver has the study."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    places = Places.resolve(
        home=options.home, records=options.records, data=options.data, tracking_uri=options.tracking_uri
    )
    with Ledger.open(places.home) as ledger:
        heartbeat = Heartbeat.acquire(ledger, options.study)
        if heartbeat is None:
            log.warning("study %s: another driver has the run lease", options.study)
            return EXIT_NOT_MINE
        with heartbeat:
            return _drive(ledger, options, places, heartbeat)


def _drive(ledger: Ledger, options: argparse.Namespace, places: Places, heartbeat: Heartbeat) -> int:
    study_id, publisher = options.study, None
    try:
        if places.tracking_uri is not None:
            publisher = start_publisher(study_id, places, follow=True)
        workers = options.workers or num_cores()
        driver = Driver(ledger, study_id, places, heartbeat, workers=workers, parent_pid=options.parent_pid)
        state = driver.run()
        if state is TrialState.QUEUED:
            return EXIT_STOPPED
        if state is TrialState.CANCELLED:
            ledger.set_study_state(study_id, state, reason="cancelled", fence=heartbeat.fence)
        # Before the state: whoever sees `done` finds the report.
        write_results(ledger, study_id, places, places.study_folder(study_id))
        if state is TrialState.DONE:
            ledger.set_study_state(study_id, state, fence=heartbeat.fence)
        _let_publish(publisher)
        return EXIT_DONE
    except StaleFence as error:
        log.warning("%s", error)
        return EXIT_NOT_MINE
    except (WarmupBenchError, Stop) as error:
        log.error("%s", error)
        _say_errored(ledger, study_id, f"{error}", heartbeat.fence)
        return EXIT_FAILED
    except Exception as error:
        log.exception("the driver failed")
        _say_errored(ledger, study_id, f"{type(error).__name__}: {error}".splitlines()[0], heartbeat.fence)
        return EXIT_FAILED
    finally:
        if publisher is not None and publisher.poll() is None:
            publisher.stop(grace_s=5.0)


def _let_publish(publisher: Child | None) -> None:
    if publisher is None:
        return
    try:
        publisher.process.wait(timeout=PUBLISHER_DRAIN_S)
    except Exception:
        log.warning("publishing is behind; `warmup-bench sync` catches up")


def _say_errored(ledger: Ledger, study_id: str, reason: str, fence: int) -> None:
    try:
        ledger.set_study_state(study_id, TrialState.ERRORED, reason=reason[:2000], fence=fence)
    except WarmupBenchError as error:
        log.error("and could not say so: %s", error)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m workers.cluster", description=__doc__)
    parser.add_argument("--study", required=True)
    parser.add_argument("--home")
    parser.add_argument("--records")
    parser.add_argument("--data")
    parser.add_argument("--tracking-uri")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--parent-pid", type=int)
    return parser


if __name__ == "__main__":
    sys.exit(main())
