"""`warmup-bench list`: the studies of a home, or of a server, newest first."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.options import Home, Json, places, print_json
from service.cli.server import KeyFile, ServerAddress, named_server

if TYPE_CHECKING:
    from workers.ledger.ledger import Ledger
    from workers.ledger.rows import StudyRow


def list_studies(
    home: Home = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most this many.")] = 50,
    cursor: Annotated[str | None, typer.Option(help="Where the page before ended.")] = None,
    server: ServerAddress = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """List studies."""
    there = named_server(server, key_file, home)
    if there is not None:
        from service.cli.there import list_there

        _print(*list_there(there, limit, cursor, as_json=as_json), "submit", as_json=as_json)
        return
    where = places(home)
    from schemas.errors import Problem, SpecError
    from schemas.problems import show
    from workers.ledger.ledger import Ledger

    items: list[dict[str, Any]] = []
    following = None
    if Path(where.ledger).exists():  # asking makes no home
        with Ledger.open(where.home, create=False) as ledger:
            try:
                rows, following = ledger.list_studies(limit, cursor)
            except ValueError:
                raise SpecError([Problem("cursor", show(cursor), "what an earlier page printed")]) from None
            items = [_item(ledger, row) for row in rows]
    _print(items, following, "run", as_json=as_json)


def _print(items: list[dict[str, Any]], following: str | None, command: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"items": items, "next": following})
        return
    if not items:
        print(f"no studies yet; `warmup-bench {command} quickstart` makes one")
    else:
        print("\n".join(_lines(items)))
    if following:
        print(f"more: --cursor {following}")


def _lines(items: list[dict[str, Any]]) -> list[str]:
    done = [f"{item['done']}/{item['total']}" for item in items]
    width = max(len("done"), *map(len, done))
    head = f"{'study':16}  {'state':9}  {'done':>{width}}  {'created':25}  name"
    return [
        head,
        *(
            f"{item['id']}  {item['state']:9}  {count:>{width}}  {item['created_at']:25}  {item['name']}"
            for item, count in zip(items, done, strict=True)
        ),
    ]


def _item(ledger: "Ledger", row: "StudyRow") -> dict[str, Any]:
    return {
        "id": row.id,
        "name": row.name,
        "state": str(row.state),
        "done": ledger.counts(row.id)["done"],
        "total": row.total,
        "publishing": row.publishing,
        "created_at": row.created_at.isoformat(timespec="seconds"),
    }
