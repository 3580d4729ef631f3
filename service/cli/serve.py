"""`warmup-bench serve`: the service, for this machine or, with a database, for a team."""

import os
from typing import Annotated

import typer

from schemas.errors import Problem, SpecError
from schemas.plugins import GROUPS, Group
from schemas.problems import show
from service.cli.options import Data, DatabaseUrl, Home, Records, TrackingUri, integer, places, say
from workers.places import database_url as resolved_database_url

PARTS = ("api", "controller")


def _part(text: str) -> str:
    if text not in PARTS:
        raise SpecError([Problem("--only", show(text), " or ".join(PARTS))])
    return text


def _listed(text: str) -> tuple[Group, str]:
    group, _, name = text.partition(":")
    if group not in GROUPS or not name:
        allowed = f"GROUP:NAME of an installed part, GROUP one of {', '.join(GROUPS)}"
        raise SpecError([Problem("--plugin", show(text), allowed)])
    return group, name


def serve(
    home: Home = None,
    host: Annotated[str, typer.Option("--host", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", parser=integer("--port"), metavar="INTEGER", help="0: any that is free.")
    ] = 8000,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            parser=integer("--workers"),
            metavar="INTEGER",
            help="Trainers of all studies together (default: one per core).",
        ),
    ] = None,
    database_url: DatabaseUrl = None,
    ray_address: Annotated[
        str | None,
        typer.Option(
            "--ray-address",
            metavar="URL",
            help="http://HOST:8265, a Ray head: studies run on its cluster, not here (WARMUP_BENCH_RAY_ADDRESS).",
        ),
    ] = None,
    start_timeout_s: Annotated[
        int | None,
        typer.Option(
            "--start-timeout-s",
            parser=integer("--start-timeout-s"),
            metavar="INTEGER",
            envvar="WARMUP_BENCH_START_TIMEOUT_S",
            help="So long the cluster may take to find room for a study's driver (default: 600).",
        ),
    ] = None,
    max_running: Annotated[
        int | None,
        typer.Option(
            "--max-running",
            parser=integer("--max-running"),
            metavar="INTEGER",
            help="Studies that run at a time (default: 2, or 1 on one core; on a cluster 8).",
        ),
    ] = None,
    only: Annotated[
        str | None, typer.Option("--only", parser=_part, metavar="api|controller", help="One of the two parts, alone.")
    ] = None,
    plugin: Annotated[
        list[str] | None,
        typer.Option(
            "--plugin",
            metavar="GROUP:NAME",
            envvar="WARMUP_BENCH_SERVE_PLUGIN",
            help="An installed part that studies may name, models:acme_vit say (may be given several times).",
        ),
    ] = None,
    records: Records = None,
    data: Data = None,
    tracking_uri: TrackingUri = None,
) -> None:
    """Serve the API and run what is submitted to it, until Ctrl-C. The next `serve` goes on with what is left."""
    where = places(home, records, data, tracking_uri)
    # Imported after the first line: a person who has pressed enter wants to see that something happens.
    from service.ray_address import read_ray_address
    from service.serve import ServeOptions
    from service.serve import serve as run
    from service.settings import read_settings

    options = ServeOptions(
        host=host,
        port=port,
        workers=workers,
        database_url=resolved_database_url(flag=database_url),
        max_running=max_running,
        plugins=tuple(_listed(text) for text in plugin or ()),
        only=only,  # type: ignore[arg-type]  # one of PARTS
        ray=read_ray_address(ray_address) if only != "api" else None,
        start_timeout_s=start_timeout_s,
        names_records=bool(records or os.environ.get("WARMUP_BENCH_RECORDS")),
    )
    options.check()
    read_settings(where, workers)  # refused before anything is made
    where.check_writable()
    where.make_home()
    run(options, where, say)
