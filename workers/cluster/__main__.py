"""`python -m workers.cluster --study ID`: the driver of one study, from its plan to its report."""

import argparse
import contextlib
import logging
import os
import sys
from pathlib import Path

from schemas.errors import PlaceAway, PlaceError, PlaceRefused, Problem, StaleFence, StudyNotFound, WarmupBenchError
from schemas.trials import TrialState
from workers import marks
from workers.cluster.aside import Aside
from workers.cluster.cluster_ray import CannotAttach
from workers.cluster.driver import Driver
from workers.cluster.fitness import CannotRun, RecordsNotShared
from workers.cluster.grounds import Ground, SeveralNodes, ThisMachine
from workers.cluster.heartbeat import Heartbeat
from workers.cluster.publishing import Publishing
from workers.cluster.ray_processes import RayLost
from workers.cluster.steady_ledger import SteadyLedger
from workers.cluster.stopping import StopRequest
from workers.cluster.study_logs import FORMAT, LogTail
from workers.launcher import (
    EXIT_DONE,
    EXIT_FAILED,
    EXIT_NO_CLUSTER,
    EXIT_NO_PLACE,
    EXIT_NOT_MINE,
    EXIT_RAY_LOST,
    EXIT_STOPPED,
    cluster_environment,
    module_command,
)
from workers.ledger.ledger import Ledger
from workers.ledger_copies import OtherJob
from workers.places import DATABASE_URL, DATABASE_URL_FILE, LEDGER, PLUGINS, Places, database_url
from workers.results.report_version import mark_report
from workers.shared_ray import HOST

log = logging.getLogger("warmup_bench.driver")

NO_PLACE = "the ledger or the place of the records could not be used; the study goes on when it can"
NOT_SHARED = (
    "the nodes of the cluster do not share the place of the records; the study goes on when the same path is mounted on"
    " all of them, or WARMUP_BENCH_RECORDS is an s3:// place"
)
"""A service's callers are not told which places it has: those stand in the driver's log."""


def main(arguments: list[str] | None = None) -> int:
    """Exit status: see workers.launcher."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format=FORMAT)
    tail = LogTail()
    if options.cluster:
        logging.getLogger().addHandler(tail)
    stop = StopRequest(options.parent_pid)
    stop.listen()
    try:
        places = Places.resolve(
            home=options.home,
            records=options.records,
            data=options.data,
            tracking_uri=options.tracking_uri,
            ledger=os.environ.get(LEDGER) or (_shared_ledger() if options.cluster else database_url()),
            plugins=[path for path in os.environ.get(PLUGINS, "").split(os.pathsep) if path],
        )
        ground = _ground(options)
        with Ledger.open(places.ledger) as ledger:
            heartbeat = Heartbeat.acquire(ledger, options.study)
            if heartbeat is None:
                log.warning("study %s: another driver has the run lease", options.study)
                return EXIT_NOT_MINE
            _end_launch(ledger, options.study)
            if not options.cluster:
                with heartbeat:
                    return _drive(ledger, options.study, places, heartbeat, stop, ground)
            log.info("study %s: attempt %d, on a cluster", options.study, heartbeat.fence)
            aside = Aside.of(ledger, options.study, places, heartbeat.fence, tail)
            with aside.logs:
                with heartbeat:
                    status = _drive(ledger, options.study, places, heartbeat, stop, ground, aside)
                aside.copy_at_the_end()
            return status
    except PlaceError as error:
        log.error("%s", error)
        return EXIT_NO_PLACE if options.cluster or HOST in os.environ else EXIT_FAILED
    except StudyNotFound as error:
        if not options.cluster:
            log.error("%s", error)
            return EXIT_FAILED
        log.error("%s: %s on this node names another database than the controller has", error, DATABASE_URL_FILE)
        return EXIT_NO_PLACE  # it is there, where it was launched from
    except WarmupBenchError as error:
        log.error("%s", error)
        return EXIT_FAILED


def _shared_ledger() -> str:
    """Of a driver that a controller elsewhere has launched. A file of this node would know no study."""
    url = database_url()
    if url is None:
        allowed = "on each node that drivers may run on: a file with one line, the URL of the controller's database"
        raise PlaceRefused(str(Problem(DATABASE_URL_FILE, "nothing", allowed)))
    return url


def _ground(options: argparse.Namespace) -> Ground:
    if options.cluster:
        return SeveralNodes(options.workers)
    return ThisMachine(options.workers, Path(os.environ[HOST]) if HOST in os.environ else None)


def _drive(
    ledger: Ledger,
    study_id: str,
    places: Places,
    heartbeat: Heartbeat,
    stop: StopRequest,
    ground: Ground,
    aside: Aside | None = None,
) -> int:
    fence = heartbeat.fence
    steady = SteadyLedger(ledger, heartbeat, stop)
    if ledger.study_head(study_id).state.is_final:
        log.info("study %s became final before its driver had started", study_id)
        return EXIT_DONE
    publishing = Publishing(study_id, places)
    try:
        publishing.start()
        driver = Driver(ledger, study_id, places, heartbeat, stop, ground=ground, aside=aside)
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
    except OtherJob as error:
        log.error("%s", error)
        return EXIT_FAILED  # of its own ledger, this one is the only driver: another start would only disturb that job
    except StaleFence as error:
        log.warning("%s", error)
        return EXIT_NOT_MINE
    except RayLost as error:
        log.error("%s", error)
        _queue_again(ledger, study_id, str(error), fence)
        return EXIT_NO_CLUSTER if isinstance(error, CannotAttach) else EXIT_RAY_LOST
    except PlaceError as error:
        log.error("%s", error)
        if ground.starts_again:
            _queue_again(ledger, study_id, NOT_SHARED if isinstance(error, RecordsNotShared) else NO_PLACE, fence)
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
    parser.add_argument("--cluster", action="store_true", help="its trainers run on the Ray cluster of this node")
    return parser


def _begin_anew(arguments: list[str]) -> None:
    """Replace this process, a Ray job's entry point, by one whose environment has the marks and no user's paths."""
    options = _parser().parse_args(arguments)
    if not options.cluster or os.environ.get(marks.DRIVER) == marks.IS_DRIVER:
        return
    kept = {name: os.environ[name] for name in (DATABASE_URL, DATABASE_URL_FILE, PLUGINS) if name in os.environ}
    command = [*module_command("workers.cluster"), *arguments]
    os.execve(command[0], command, cluster_environment(options.study) | kept)


if __name__ == "__main__":
    _begin_anew(sys.argv[1:])
    status = main()
    if status in (EXIT_RAY_LOST, EXIT_NO_CLUSTER):
        os._exit(status)  # Ray's own farewell, at the interpreter's end, would wait for what is dead
    sys.exit(status)
