"""`warmup-bench run FILE`: from a study's file to its answer, on this machine."""

import signal
import sys
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
    from service.running import accept, collect, prepare
    from service.spec_files import read_document
    from workers.ledger.ledger import Ledger

    request = accept(read_document(file), where)
    where.make_home()
    with Ledger.open(where.home) as ledger:
        prepared = prepare(ledger, request, where, out)
        say(_opening(prepared.row, prepared.is_new))
        row, failed = _followed(ledger, prepared.row, where, workers)
        if row.state != "errored":
            collect(ledger, where, prepared, rewrite=failed)
        _closing(ledger, row, prepared.folder, where, as_json=as_json)
        failed = row.state != "done" or ledger.counts(row.id)["errored"] > 0
    raise typer.Exit(EXIT_FAILED if failed else 0)


def _followed(ledger: "Ledger", row: "StudyRow", where: "Places", workers: int | None) -> "tuple[StudyRow, bool]":
    """The study at its end, and whether its driver failed."""
    from service.cli.display import Display
    from service.running import Watch

    if row.state.is_final:
        return row, False
    watch = Watch(ledger, row, where, workers)
    # `kill` and a closed terminal are to leave as little behind as Ctrl-C.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        with Display(row.total, where.tracking_uri) as display:
            return watch.follow(display.show), watch.has_failed
    except KeyboardInterrupt:
        _stop(ledger, row, watch)
        raise typer.Exit(EXIT_INTERRUPTED) from None


def _stop(ledger: "Ledger", row: "StudyRow", watch: "Watch") -> None:
    if watch.is_adopted:
        say("left alone: another command runs this study, and goes on")
        return
    say("stopping: the packs under way are saved (a few seconds) ...")
    watch.stop()
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
