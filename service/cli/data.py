"""`warmup-bench data list|fetch|import|publish`: which data sets are here, and how the others get here."""

import sys
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.options import Data, Home, Json, human_bytes, places, print_json, say

if TYPE_CHECKING:
    from rich.progress import Progress

PLAIN_EVERY_S = 5.0

app = typer.Typer(help="Data sets: what is here, and how to get what is not.", no_args_is_help=True)
Replace = Annotated[bool, typer.Option("--replace", help="Put it in place of what lies there and is not the set.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="A set, as `data list` names it.")]


@app.command("list")
def list_data(home: Home = None, data: Data = None, as_json: Json = False) -> None:
    """List the known data sets, here or not."""
    where = places(home, data=data)
    from workers.data import list_sets
    from workers.data.listing import as_table

    sets = list_sets(where.data, stamps=where.home / "data-stamps.json")
    if as_json:
        print_json([found.to_json() for found in sets])
        return
    print(as_table(sets))


@app.command("fetch")
def fetch(name: Name, replace: Replace = False, home: Home = None, data: Data = None, as_json: Json = False) -> None:
    """Download a data set from its own home. Its sha256 is checked, and what broke off goes on where it stopped."""
    where = places(home, data=data)
    from workers.data.fetching import fetch as fetch_set

    try:
        with _Progress() as progress:
            is_new = fetch_set(name, where.data, replace=replace, tell=progress.tell)
    except KeyboardInterrupt:
        say("stopped; what came is kept, and the same command goes on from there")
        raise
    _closing(name, where.data, is_new=is_new, as_json=as_json)


@app.command("import")
def take(
    name: Name,
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="Its original, or a folder laid out as a data directory.")
    ],
    replace: Replace = False,
    home: Home = None,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Take a data set over from files that are here. Their sha256 is checked."""
    where = places(home, data=data)
    from workers.data.fetching import take as take_set

    _closing(name, where.data, is_new=take_set(name, path.absolute(), where.data, replace=replace), as_json=as_json)


@app.command("publish")
def publish(home: Home = None, data: Data = None, as_json: Json = False) -> None:
    """Bring the catalog up to the data sets that are here."""
    where = places(home, data=data)
    from workers.ledger.ledger import Ledger
    from workers.studies import publish_data

    where.make_home()
    with Ledger.open(where.home) as ledger:
        publish_data(ledger, where.data)
        rows = ledger.datasets()
    if as_json:
        print_json([row.facts for row in rows])
        return
    for row in rows:
        print(f"{row.kind:18} {row.sha256}")


def _closing(name: str, data_dir: Path, *, is_new: bool, as_json: bool) -> None:
    from workers.data.inventory import set_status

    status = set_status(name, data_dir)
    if as_json:
        print_json(status.to_json())
        return
    if not is_new:
        say(f"{name} is here already; nothing was done")
    print(f"{name}  {human_bytes(status.num_bytes)}  sha256 {status.sha256}  {status.where}")
    say("`run` and `plan` find it there; a server knows of it after `warmup-bench data publish`")


class _Progress:
    """How far a download has come: a live line on a terminal, plain lines where it is none. Writes to stderr."""

    def __init__(self) -> None:
        self._live: Progress | None = None
        self._file = ""
        self._said_at = 0.0

    def __enter__(self) -> "_Progress":
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

            columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
            self._live = Progress(*columns, console=Console(stderr=True), transient=True)
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def tell(self, file: str, here: int, total: int | None) -> None:
        """Show that `here` bytes of `total` are here."""
        if self._live is not None:
            if file != self._file:
                self._file, self._task = file, self._live.add_task(file, total=total)
            self._live.update(self._task, completed=here, total=total)
            return
        now, is_new = time.monotonic(), file != self._file
        if is_new or here == total or now - self._said_at >= PLAIN_EVERY_S:
            self._file, self._said_at = file, now
            say(f"{file}: {human_bytes(here)}{f' of {human_bytes(total)}' if total else ''}")
