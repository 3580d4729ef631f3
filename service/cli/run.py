"""`warmup-bench run FILE`: from a study's file to its answer, on this machine."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from service.cli.options import Data, Home, Json, Records, TrackingUri, places, print_json, say

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
    from service.cli.display import Display
    from service.running import Watch, collect, prepare
    from service.spec_files import read_document
    from workers.ledger.ledger import Ledger

    document = read_document(file)
    where.make_home()
    with Ledger.open(where.home) as ledger:
        prepared = prepare(ledger, document, where, out)
        row = prepared.row
        say(_opening(row, prepared.is_new))
        if not row.state.is_final:
            watch = Watch(ledger, row, where, workers)
            try:
                with Display(row.total) as display:
                    row = watch.follow(display.show)
            except KeyboardInterrupt:
                say("stopping: the packs under way are saved (a few seconds) ...")
                watch.stop()
                counts = ledger.counts(row.id)
                say(f"stopped with {counts['done']} of {row.total} trials done; the same command continues")
                raise typer.Exit(EXIT_INTERRUPTED) from None
        folder = collect(where, prepared)
        _closing(ledger, row, folder, where, as_json=as_json)
        failed = row.state != "done" or ledger.counts(row.id)["errored"] > 0
    raise typer.Exit(EXIT_FAILED if failed else 0)


def _opening(row: Any, is_new: bool) -> str:
    if is_new:
        return f"study {row.id} ({row.name}): {row.total} trials"
    if row.state.is_final:
        return f"study {row.id} ({row.name}): all {row.total} trials were done before"
    return f"study {row.id} ({row.name}): continuing with what is missing of {row.total} trials"


def _closing(ledger: Any, row: Any, folder: Path, where: Any, *, as_json: bool) -> None:
    from service.cli.answer import read_answer, show_answer

    answer = read_answer(ledger, row, folder, where)
    if as_json:
        print_json(answer)
    else:
        show_answer(answer, sys.stdout)
