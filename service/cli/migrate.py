"""`warmup-bench migrate`: the ledger's schema, brought to what this program knows, before anything else starts."""

import time
from typing import Annotated

import typer

from schemas.errors import PlaceAway, Problem, SpecError
from service.cli.options import DatabaseUrl, Home, integer, places, say
from workers.places import database_url as resolved_database_url

AGAIN_AFTER_S = 1.0


def migrate(
    home: Home = None,
    database_url: DatabaseUrl = None,
    wait_s: Annotated[
        int,
        typer.Option(
            "--wait-s",
            parser=integer("--wait-s"),
            metavar="INTEGER",
            help="So long a database that is not up yet is waited for.",
        ),
    ] = 60,
) -> None:
    """Make the ledger's tables, or bring them to this program's schema. Doing it again changes nothing."""
    if wait_s < 0:
        raise SpecError([Problem("--wait-s", str(wait_s), "0 or more")])
    url = resolved_database_url(flag=database_url)
    place = url or places(home).ledger
    # Imported after the first checks: it takes a moment.
    from workers.ledger.ledger import Ledger
    from workers.ledger.place import resolve

    shown, deadline, is_said = str(resolve(place)), time.monotonic() + wait_s, False
    while True:
        try:
            with Ledger.open(place):
                break
        except PlaceAway as error:
            if time.monotonic() >= deadline:
                raise
            if not is_said:
                say(f"{error}; waiting up to {wait_s} s")
                is_said = True
            time.sleep(AGAIN_AFTER_S)
    print(f"ledger {shown}: its schema is this program's")
