"""`warmup-bench serve`: the service, for this machine or, with a database, for a team."""

import os
from enum import StrEnum
from typing import Annotated

import typer

from service.cli.options import Data, Home, Records, TrackingUri, places, say


class Part(StrEnum):
    """What `--only` may name."""

    API = "api"
    CONTROLLER = "controller"


def serve(
    home: Home = None,
    host: Annotated[str, typer.Option("--host", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="0: any that is free.")] = 8000,
    workers: Annotated[
        int | None, typer.Option("--workers", help="Trainers of all studies together (default: one per core).")
    ] = None,
    database_url: Annotated[
        str | None,
        typer.Option(
            "--database-url",
            metavar="URL",
            envvar="WARMUP_BENCH_DATABASE_URL",
            help="postgresql+psycopg://...: not the home's own ledger, so that several may serve it.",
        ),
    ] = None,
    max_running: Annotated[
        int | None, typer.Option("--max-running", help="Studies that run at a time (default: 2, or 1 on one core).")
    ] = None,
    only: Annotated[Part | None, typer.Option("--only", help="One of the two parts, alone.")] = None,
    records: Records = None,
    data: Data = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Serve the API and run what is submitted to it, until Ctrl-C; the next `serve` goes on with what is left."""
    where = places(home, records, data, tracking_uri)
    # Imported after the first line: a person who has pressed enter wants to see that something happens.
    from service.serve import ServeOptions
    from service.serve import serve as run

    options = ServeOptions(
        host=host,
        port=port,
        workers=workers,
        database_url=database_url,
        max_running=max_running,
        only=None if only is None else only.value,
        names_records=bool(records or os.environ.get("WARMUP_BENCH_RECORDS")),
    )
    options.check()
    where.check_writable()
    where.make_home()
    run(options, where, say)
