"""`warmup-bench sync [STUDY]`: publish to MLflow what it does not have yet."""

import subprocess
from typing import Annotated

import typer

from service.cli.options import Home, Json, Records, TrackingUri, places, print_json, say


def sync(
    study: Annotated[str | None, typer.Argument(metavar="STUDY", help="One study (default: all that are behind).")] = None,
    home: Home = None,
    records: Records = None,
    tracking_uri: TrackingUri = None,
    as_json: Json = False,
) -> None:
    """Bring MLflow up to what the ledger and the records hold. Publishing twice adds nothing."""
    where = places(home, records, tracking_uri=tracking_uri)
    from schemas.errors import Problem, SpecError
    from workers.launcher import child_environment, module_command
    from workers.ledger.ledger import Ledger

    if where.tracking_uri is None:
        raise SpecError([Problem("--tracking-uri", "none", "a store or a server to publish to")])
    where.make_home()
    with Ledger.open(where.home) as ledger:
        rows = [ledger.study(study)] if study else _behind(ledger)
        driven = {row.id for row in rows if (lease := ledger.lease(row.id, "run")) is not None and lease.is_fresh}
    results = []
    for row in rows:
        if row.id in driven:
            say(f"{row.id} {row.name}: running, its driver publishes it")
            continue
        say(f"{row.id} {row.name}: publishing to {where.tracking_uri}")
        command = [*module_command("workers.tracking"), "--study", row.id, *where.flags()]
        status = subprocess.run(command, env=child_environment(row.id), check=False).returncode
        results.append({"id": row.id, "publishing": "current" if status == 0 else "behind"})
    if as_json:
        print_json(results)
    elif not results:
        print("nothing to publish")
    else:
        print("\n".join(f"{result['id']}  {result['publishing']}" for result in results))
    raise typer.Exit(0 if all(result["publishing"] == "current" for result in results) else 1)


def _behind(ledger: "Ledger") -> list["StudyRow"]:  # noqa: F821
    rows, cursor = ledger.list_studies(1000)
    found = list(rows)
    while cursor:
        rows, cursor = ledger.list_studies(1000, cursor)
        found += rows
    return [row for row in found if row.state.is_final or row.publishing == "behind"]
