"""`warmup-bench data list|publish`: which data sets are here, and what the catalog says of them."""

import typer

from service.cli.options import Data, Home, Json, human_bytes, places, print_json

app = typer.Typer(help="Data sets: what is here, and how to get what is not.", no_args_is_help=True)


@app.command("list")
def list_data(home: Home = None, data: Data = None, as_json: Json = False) -> None:
    """List the known data sets, those that are here and those that are not."""
    where = places(home, data=data)
    from workers.data import list_sets

    sets = list_sets(where.data, stamps=where.home / "data-stamps.json")
    if as_json:
        print_json([found.to_json() for found in sets])
        return
    for found in sets:
        size = human_bytes(found.num_bytes) if found.num_bytes else ""
        check = {True: "sha256 ok", False: "other bytes", None: ""}[found.sha256_ok]
        print(f"{found.name:18} {found.state:8} {size:>9}  {check:11}  {found.get}")


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
