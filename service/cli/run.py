"""`warmup-bench run FILE`: from a study's file to its answer, on this machine."""

import signal
import sys
from enum import Enum, auto
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.options import Data, Home, Json, Records, TrackingUri, places, print_json, say

if TYPE_CHECKING:
    from service.running import Watch
    from workers.ledger.ledger import Ledger
    from workers.ledger.rows import StudyRow
    from workers.places import Places

EXIT_FAILED, EXIT_INTERRUPTED = 1, 130


def run(
    file: Annotated[str, typer.Argument(metavar="FILE|PRESET", help="The study: a YAML file, or a preset's name.")],
    out: Annotated[Path | None, typer.Option("--out", help="Result folder (default ./NAME-SHORTID).")] = None,
    home: Home = None,
    records: Records = None,
    data: Data = None,
    tracking_uri: TrackingUri = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Trainers (default: one per core).")] = None,
    as_json: Json = False,
) -> None:
    """Run a study and end with its verdict. Running it again continues with what is missing."""
    where = places(home, records, data, tracking_uri)
    # Imported after the first line: a person who has pressed enter wants to see that something happens.
    from service.requests import accept
    from service.running import collect, prepare
    from service.spec_files import read_document
    from workers.ledger.ledger import Ledger

    request = accept(read_document(file), where)
    where.make_home()
    with Ledger.open(where.home) as ledger:
        prepared = prepare(ledger, request, where, out)
        say(_opening(prepared.row, prepared.is_new))
        end = _followed(ledger, prepared.row, where, workers)
        row = ledger.study(prepared.row.id)
        if row.state in ("done", "cancelled"):
            collect(ledger, where, prepared, rewrite=end is End.DRIVER_FAILED)
        if row.state.is_final:
            _closing(ledger, row, prepared.folder, where, as_json=as_json)
        if end is End.INTERRUPTED:
            raise typer.Exit(EXIT_INTERRUPTED)
        failed = row.state != "done" or ledger.counts(row.id)["errored"] > 0
    raise typer.Exit(EXIT_FAILED if failed else 0)


class End(Enum):
    """How watching a study came to its end."""

    FINAL = auto()
    DRIVER_FAILED = auto()
    """The study is final all the same: its report could not be written, say."""
    INTERRUPTED = auto()


def _followed(ledger: "Ledger", row: "StudyRow", where: "Places", workers: int | None) -> End:
    from service.cli.display import Display
    from service.running import Watch

    if row.state.is_final:
        return End.FINAL
    watch = Watch(ledger, row, where, workers)
    # `kill` and a closed terminal are to leave as little behind as Ctrl-C.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        with Display(row.total, where.tracking_uri) as display:
            watch.follow(display.show)
    except KeyboardInterrupt:
        _stop(ledger, row, watch)
        return End.INTERRUPTED
    return End.DRIVER_FAILED if watch.has_failed else End.FINAL


def _stop(ledger: "Ledger", row: "StudyRow", watch: "Watch") -> None:
    if watch.is_adopted:
        say("left alone: another command runs this study, and goes on")
        return
    is_final = watch.progress.is_final
    say("stopping the publishing ..." if is_final else "stopping: the packs under way are saved (a few seconds) ...")
    watch.stop()
    if not is_final:
        counts = ledger.counts(row.id)
        say(f"stopped with {counts['done']} of {row.total} trials done; the same command continues")


def _opening(row: "StudyRow", is_new: bool) -> str:
    if is_new:
        return f"study {row.id} ({row.name}): {row.total} trials"
    if row.state.is_final:
        return f"study {row.id} ({row.name}): all {row.total} trials were done before"
    return f"study {row.id} ({row.name}): continuing with what is missing of {row.total} trials"


def _closing(ledger: "Ledger", row: "StudyRow", folder: Path, where: "Places", *, as_json: bool) -> None:
    from service.cli.answer import read_answer, show_answer

    answer = read_answer(ledger, row, folder, where)
    if as_json:
        print_json(answer)
    else:
        show_answer(answer, sys.stdout)
    if row.state != "done":
        say(f"what is done is kept, and the same command continues; `warmup-bench report {row.id[:8]}` shows it")
