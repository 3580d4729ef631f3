"""`warmup-bench list`: the studies of a home, newest first."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.options import Home, Json, places, print_json

if TYPE_CHECKING:
    from workers.ledger.ledger import Ledger
    from workers.ledger.rows import StudyRow


def list_studies(
    home: Home = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most this many.")] = 50,
    cursor: Annotated[str | None, typer.Option(help="Where the page before ended.")] = None,
    as_json: Json = False,
) -> None:
    """List studies."""
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
    if as_json:
        print_json({"items": items, "next": following})
        return
    if not items:
        print("no studies yet; `warmup-bench run quickstart` makes one")
    for item in items:
        print(f"{item['id']}  {item['state']:9}  {item['done']}/{item['total']}  {item['created_at']}  {item['name']}")
    if following:
        print(f"more: --cursor {following}")


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
