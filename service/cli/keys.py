"""`warmup-bench keys create|list|revoke`: who may use a server, in the ledger of a home or at a database URL."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.options import DatabaseUrl, Home, Json, places, print_json, say
from workers.places import database_url as resolved_database_url

if TYPE_CHECKING:
    from workers.ledger.ledger import Ledger
    from workers.ledger.rows import KeyRow

app = typer.Typer(help="Keys of a server: made and revoked where its ledger is.", no_args_is_help=True)


@app.command("create")
def create_key(
    name: Annotated[str, typer.Option("--name", help="What the key is for, for people.")],
    scope: Annotated[list[str], typer.Option("--scope", help="read, submit or admin; may be given several times.")],
    owner: Annotated[str | None, typer.Option(help="Keys of one owner share their studies (default: its own).")] = None,
    home: Home = None,
    database_url: DatabaseUrl = None,
    as_json: Json = False,
) -> None:
    """Make a key and show it, once."""
    with _ledger(home, database_url, create=True) as ledger:
        row, secret = ledger.create_key(name, scope, owner)
    if as_json:
        print_json(_as_json(row) | {"key": secret})
    else:
        print(secret)
    say(
        f"key {row.id} ({row.name}: {', '.join(sorted(row.scopes))}). It is shown this once and kept as a hash: save it"
    )
    say("now, in a file for --key-file say. `warmup-bench keys revoke` ends it.")


@app.command("list")
def list_keys(home: Home = None, database_url: DatabaseUrl = None, as_json: Json = False) -> None:
    """List the keys, revoked ones too; never the secrets."""
    with _ledger(home, database_url) as ledger:
        rows, cursor = ledger.list_keys(1000, None)
        while cursor is not None:
            more, cursor = ledger.list_keys(1000, cursor)
            rows = [*rows, *more]
    if as_json:
        print_json({"items": [_as_json(row) for row in rows], "next": None})
        return
    if not rows:
        print("no keys; `warmup-bench keys create` makes one")
        return
    print(f"{'key':14}  {'state':18}  {'scopes':17}  {'owner':14}  name")
    for row in rows:
        ended = f"revoked {row.revoked_at:%Y-%m-%d}" if row.revoked_at else "valid"
        print(f"{row.id}  {ended:18}  {','.join(sorted(row.scopes)):17}  {row.owner:14}  {row.name}")


@app.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As `keys list` shows it.")],
    home: Home = None,
    database_url: DatabaseUrl = None,
    as_json: Json = False,
) -> None:
    """End a key: servers refuse it within seconds. Revoking again changes nothing."""
    with _ledger(home, database_url) as ledger:
        row = ledger.revoke_key(key_id)
    if as_json:
        print_json(_as_json(row))
    else:
        print(f"{row.id}  revoked  {row.name}")


@contextmanager
def _ledger(home: str | None, database_url: str | None, *, create: bool = False) -> Iterator["Ledger"]:
    database_url = resolved_database_url(flag=database_url)
    if database_url is None:
        where = places(home, tracking_uri="none")
        if create:
            where.make_home()
        place: Any = where.home
    else:
        place = database_url
    from workers.ledger.ledger import Ledger

    with Ledger.open(place, create=create) as ledger:
        if database_url is not None:
            say(f"warmup-bench: here, ledger {ledger.place}")
        yield ledger


def _as_json(row: "KeyRow") -> dict[str, Any]:
    times = {name: getattr(row, name) for name in ("created_at", "revoked_at", "last_used_at")}
    return {
        "id": row.id,
        "name": row.name,
        "owner": row.owner,
        "scopes": sorted(row.scopes),
        **{name: at.isoformat(timespec="seconds") if at else None for name, at in times.items()},
    }
