"""`python -m workers.cluster --study ID`: the driver of one study, from its plan to its report."""

import argparse
import contextlib
import logging
import os
import sys
from pathlib import Path

from schemas.errors import PlaceAway, PlaceError, StaleFence, WarmupBenchError
from schemas.trials import TrialState
from workers.cluster.driver import CannotRun, Driver
from workers.cluster.heartbeat import Heartbeat
from workers.cluster.publishing import Publishing
from workers.cluster.ray_processes import RayLost
from workers.cluster.steady_ledger import SteadyLedger
from workers.cluster.stopping import StopRequest
from workers.launcher import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_NO_PLACE,
    EXIT_NOT_MINE,
    EXIT_RAY_LOST,
    EXIT_STOPPED,
)
from workers.ledger.ledger import Ledger
from workers.places import LEDGER, PLUGINS, Places
from workers.results.report_version import mark_report
from workers.shared_ray import HOST

log = logging.getLogger("warmup_bench.driver")

NO_PLACE = "the ledger or the place of the records could not be used; the study goes on when it can"
"""A service's callers are not told which places it has: those stand in the driver's log."""


def main(arguments: list[str] | None = None) -> int:
    """Exit status: see workers.launcher."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    stop = StopRequest(options.parent_pid)
    stop.listen()
    try:
        places = Places.resolve(
            home=options.home,
            records=options.records,
            data=options.data,
            tracking_uri=options.tracking_uri,
            ledger=os.environ.get(LEDGER),
            plugins=[path for path in os.environ.get(PLUGINS, "").split(os.pathsep) if path],
        )
        with Ledger.open(places.ledger) as ledger:
            heartbeat = Heartbeat.acquire(ledger, options.study)
            if heartbeat is None:
                log.warning("study %s: another driver has the run lease", options.study)
                return EXIT_NOT_MINE
            _end_launch(ledger, options.study)
            with heartbeat:
                return _drive(ledger, options, places, heartbeat, stop)
    except PlaceError as error:
        log.error("%s", error)
        return EXIT_NO_PLACE if HOST in os.environ else EXIT_FAILED
    except WarmupBenchError as error:
        log.error("%s", error)
        return EXIT_FAILED


def _drive(ledger: Ledger, options: argparse.Namespace, places: Places, heartbeat: Heartbeat, stop: StopRequest) -> int:
    study_id, fence = options.study, heartbeat.fence
    steady = SteadyLedger(ledger, heartbeat, stop)
    if ledger.study_head(study_id).state.is_final:
        log.info("study %s became final before its driver had started", study_id)
        return EXIT_DONE
    ray_host = Path(os.environ[HOST]) if HOST in os.environ else None
    publishing = Publishing(study_id, places)
    try:
        publishing.start()
        driver = Driver(ledger, study_id, places, heartbeat, stop, workers=options.workers, ray_host=ray_host)
        state = driver.run()
        if state is TrialState.QUEUED:
            steady.set_study_state(study_id, state, fence=fence)
            return EXIT_STOPPED
        if state is TrialState.CANCELLED:
            steady.set_study_state(study_id, state, reason="cancelled", fence=fence)
        # Before the state: whoever sees `done` finds the report.
        status = _write_results(steady, study_id, places)
        if status == EXIT_DONE:
            head = steady.insist(lambda ledger: ledger.study_head(study_id))
            mark_report(places.study_folder(study_id), head, becomes_done=state is TrialState.DONE)
        if state is TrialState.DONE:
            steady.set_study_state(study_id, state, reason=driver.reason, fence=fence)
        publishing.drain(steady, fence, stop)
        return status
    except StaleFence as error:
        log.warning("%s", error)
        return EXIT_NOT_MINE
    except RayLost as error:
        log.error("%s", error)
        _queue_again(ledger, study_id, str(error), fence)
        return EXIT_RAY_LOST
    except PlaceError as error:
        log.error("%s", error)
        if ray_host is not None:  # of a service, which tries again by itself
            _queue_again(ledger, study_id, NO_PLACE, fence)
            return EXIT_NO_PLACE
        if isinstance(error, PlaceAway):  # and it was asked to stop meanwhile
            _queue_again(ledger, study_id, stop.reason, fence)
            return EXIT_STOPPED
        _say_errored(ledger, study_id, f"{error}", fence)
        return EXIT_FAILED
    except (WarmupBenchError, CannotRun) as error:
        log.error("%s", error)
        _say_errored(ledger, study_id, f"{error}", fence)
        return EXIT_FAILED
    except Exception as error:
        log.exception("the driver failed")
        _say_errored(ledger, study_id, f"{type(error).__name__}: {error}".splitlines()[0], fence)
        return EXIT_FAILED
    finally:
        publishing.stop()


def _end_launch(ledger: Ledger, study_id: str) -> None:
    # From here on the run lease says that the study has a driver.
    launch = ledger.lease(study_id, "launch")
    if launch is not None:
        ledger.release_lease(study_id, "launch", launch.owner, launch.fence)


def _write_results(steady: SteadyLedger, study_id: str, places: Places) -> int:
    # Imported only now: trainers are to start first. Whatever goes wrong here, the trials are final, and the report can
    # be written at any time.
    try:
        from workers.results.write import write_results

        steady.insist(lambda ledger: write_results(ledger, study_id, places, places.study_folder(study_id)))
    except Exception as error:
        log.exception("the report could not be written: %s", error)
        with contextlib.suppress(OSError):  # an older one is not this study's answer any more
            (places.study_folder(study_id) / "report.json").unlink(missing_ok=True)
        return EXIT_FAILED
    return EXIT_DONE


def _queue_again(ledger: Ledger, study_id: str, reason: str, fence: int) -> None:
    with contextlib.suppress(WarmupBenchError):  # a queued study and one without a driver are taken up alike
        ledger.requeue_packs(study_id, None, fence, reason)
        ledger.set_study_state(study_id, TrialState.QUEUED, reason=reason, fence=fence)


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
    status = main()
    if status == EXIT_RAY_LOST:
        os._exit(status)  # Ray's own farewell, at the interpreter's end, would wait for what is dead
    sys.exit(status)
