"""`warmup-bench run FILE`: from a study's file to its answer, on this machine."""

import signal
import sys
from enum import Enum, auto
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import WarmupBenchError
from service.cli.options import Data, Home, Json, Out, Plugins, Records, TrackingUri, Workers, places, print_json, say

if TYPE_CHECKING:
    from service.preparing import Prepared
    from service.running import Watch
    from workers.ledger.ledger import Ledger
    from workers.ledger.rows import StudyRow
    from workers.places import Places

EXIT_FAILED, EXIT_INTERRUPTED = 1, 130


def run(
    file: Annotated[str, typer.Argument(metavar="FILE|PRESET", help="The study: a YAML file, or a preset's name.")],
    out: Out = None,
    home: Home = None,
    records: Records = None,
    data: Data = None,
    tracking_uri: TrackingUri = None,
    plugin: Plugins = None,
    workers: Workers = None,
    as_json: Json = False,
) -> None:
    """Run a study and end with its verdict. Running it again continues with what is missing."""
    where = places(home, records, data, tracking_uri, plugin)
    # Imported after the first line: a person who has pressed enter wants to see that something happens.
    from service.planning import notes
    from service.preparing import prepare
    from service.requests import accept, check_workers
    from service.running import of_batch_job
    from service.spec_files import read_document
    from workers.launcher import is_ray_job
    from workers.ledger.ledger import Ledger

    check_workers(workers)
    request = accept(read_document(file), where)
    where.check_writable()
    where.make_home()
    if is_ray_job():
        where = of_batch_job(where, request.study.spec_hash)
    with Ledger.open(where.ledger) as ledger:
        prepared = prepare(ledger, request, where, out)
        say(_opening(prepared.row, prepared.is_new))
        for note in notes(request):
            say(note)
        status = see_through(ledger, prepared, where, workers, as_json=as_json)
    raise typer.Exit(status)


def see_through(ledger: "Ledger", prepared: "Prepared", where: "Places", workers: int | None, *, as_json: bool) -> int:
    """Run a study of the ledger to its end, show what it found, see it published. Returns the exit status."""
    from service.running import Watch

    watch = Watch(ledger, prepared.row, where, workers)
    end = _followed(ledger, prepared.row, watch)
    row = ledger.study(prepared.row.id)
    answer = partial(_answer, ledger, row, prepared, where, rewrite=end is End.DRIVER_FAILED, as_json=as_json)
    try:
        answer()
    except KeyboardInterrupt:
        end = _stop_publishing(watch)
        answer()  # what was found is shown all the same: it takes no time
    except WarmupBenchError:
        _published(row, watch, where, end)  # whoever publishes the study would end with this command
        raise
    if row.state.is_final and end is not End.INTERRUPTED:
        end = _published(row, watch, where, end)
    if row.state.is_final:
        _closing(ledger, row, prepared.folder, where, as_json=as_json)
    if end is End.INTERRUPTED:
        return EXIT_INTERRUPTED
    return EXIT_FAILED if row.state != "done" or ledger.counts(row.id)["errored"] > 0 else 0


class End(Enum):
    """How watching a study came to its end."""

    FINAL = auto()
    DRIVER_FAILED = auto()
    """The study is final all the same: its report could not be written, say."""
    INTERRUPTED = auto()


def _followed(ledger: "Ledger", row: "StudyRow", watch: "Watch") -> End:
    from service.cli.display import Display

    # `kill` and a closed terminal are to leave as little behind as Ctrl-C.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    if row.state.is_final:
        return End.FINAL
    try:
        with Display(row.total) as display:
            watch.follow(display.show)
    except KeyboardInterrupt:
        return _stop(ledger, row, watch)
    return End.DRIVER_FAILED if watch.has_failed else End.FINAL


def _published(row: "StudyRow", watch: "Watch", where: "Places", end: End) -> End:
    from service.cli.display import Display

    try:
        with Display(row.total, where.tracking_uri) as display:
            watch.publish(display.show)
    except KeyboardInterrupt:
        return _stop_publishing(watch)
    return end


def _stop_publishing(watch: "Watch") -> End:
    say("stopping the publishing ...")
    watch.stop()
    return End.INTERRUPTED


def _answer(
    ledger: "Ledger", row: "StudyRow", prepared: "Prepared", where: "Places", *, rewrite: bool, as_json: bool
) -> None:
    """Bring what was found to where the person wants it, and show it."""
    from service.cli.answer import read_answer, show_answer
    from service.running import collect

    if row.state in ("done", "cancelled"):
        collect(ledger, where, prepared, rewrite=rewrite)
    if row.state.is_final and not as_json:
        show_answer(read_answer(ledger, row, prepared.folder, where), sys.stdout)


def _stop(ledger: "Ledger", row: "StudyRow", watch: "Watch") -> End:
    if watch.is_adopted:
        say("left alone: another command runs this study, and goes on")
        return End.INTERRUPTED
    if ledger.study(row.id).state.is_final:
        return _stop_publishing(watch)
    say("stopping: the packs under way are saved (a few seconds) ...")
    try:
        watch.stop()
    except KeyboardInterrupt:
        say("not waiting: the driver saves by itself what it can; what is done is kept, and the same command continues")
        return End.INTERRUPTED
    counts = ledger.counts(row.id)
    say(f"stopped with {counts['done']} of {row.total} trials done; the same command continues")
    return End.INTERRUPTED


def _opening(row: "StudyRow", is_new: bool) -> str:
    if is_new:
        return f"study {row.id} ({row.name}): {row.total} trials"
    if row.state.is_final and row.counts["done"] < row.total:
        done = f"{row.counts['done']} of {row.total} trials"
        return (
            f"study {row.id} ({row.name}): {done} were done before; {row.reason} (`extend` with a larger one goes on)"
        )
    if row.state.is_final:
        return f"study {row.id} ({row.name}): all {row.total} trials were done before"
    return f"study {row.id} ({row.name}): continuing with what is missing of {row.total} trials"


def _closing(ledger: "Ledger", row: "StudyRow", folder: Path, where: "Places", *, as_json: bool) -> None:
    from service.cli.answer import read_answer, show_mlflow

    answer = read_answer(ledger, row, folder, where)
    if as_json:
        print_json(answer)
    else:
        show_mlflow(answer, sys.stdout)
    if row.state != "done":
        say(f"what is done is kept, and the same command continues; `warmup-bench report {row.id[:8]}` shows it")
