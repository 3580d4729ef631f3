"""`warmup-bench list`: the studies of a home, newest first."""

from typing import Annotated

import typer

from service.cli.options import Home, Json, places, print_json


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

    where.make_home()
    with Ledger.open(where.home) as ledger:
        try:
            rows, following = ledger.list_studies(limit, cursor)
        except ValueError:
            raise SpecError([Problem("cursor", show(cursor), "what an earlier page printed")]) from None
        items = [
            {
                "id": row.id,
                "name": row.name,
                "state": str(row.state),
                "done": ledger.counts(row.id)["done"],
                "total": row.total,
                "publishing": row.publishing,
                "created_at": row.created_at.isoformat(timespec="seconds"),
            }
            for row in rows
        ]
    if as_json:
        print_json({"items": items, "next": following})
        return
    if not items:
        print("no studies yet; `warmup-bench run quickstart` makes one")
    for item in items:
        print(f"{item['id']}  {item['state']:9}  {item['done']}/{item['total']}  {item['created_at']}  {item['name']}")
    if following:
        print(f"more: --cursor {following}")
