"""`warmup-bench sync [STUDY]`: publish to MLflow what it does not have yet."""

import subprocess
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.options import STUDY_HELP, Home, Json, Records, TrackingUri, places, print_json, say

if TYPE_CHECKING:
    from workers.ledger.ledger import Ledger
    from workers.ledger.rows import StudyRow
    from workers.places import Places


def sync(
    study: Annotated[
        str | None, typer.Argument(metavar="STUDY", help=f"{STUDY_HELP} Default: all that are not running.")
    ] = None,
    home: Home = None,
    records: Records = None,
    tracking_uri: TrackingUri = None,
    as_json: Json = False,
) -> None:
    """Bring MLflow up to what the ledger and the records hold. Publishing twice adds nothing."""
    where = places(home, records, tracking_uri=tracking_uri)
    from schemas.errors import Problem, SpecError
    from workers.ledger.ledger import Ledger

    if where.tracking_uri is None:
        raise SpecError([Problem("--tracking-uri", "none", "a store or a server to publish to")])
    with Ledger.open(where.home, create=False) as ledger:
        rows = [ledger.find_study(study)] if study else _all(ledger)
        idle = [row for row in rows if not _is_driven(ledger, row)]
        status = _publish(idle, where)
        results = [_result(ledger, row) for row in idle]
    if as_json:
        print_json(results)
    else:
        # Why one is behind has been said on stderr.
        print("\n".join(f"{result['id']}  {result['publishing']}" for result in results) or "nothing to publish")
    behind = any(result["publishing"] != "current" for result in results)
    raise typer.Exit(1 if status or behind else 0)


def _is_driven(ledger: "Ledger", row: "StudyRow") -> bool:
    lease = ledger.lease(row.id, "run")
    if lease is None or not lease.is_fresh:
        return False
    say(f"{row.id} {row.name}: running, its driver publishes it")
    return True


def _publish(rows: "list[StudyRow]", where: "Places") -> int:
    """All in one process, since importing MLflow takes longer than finding that nothing is missing."""
    from workers.launcher import child_environment, module_command
    from workers.tracking.places import without_password

    if not rows:
        return 0
    to = without_password(where.tracking_uri or "none")
    say(f"publishing {len(rows)} {'study' if len(rows) == 1 else 'studies'} to {to}")
    command = [*module_command("workers.tracking"), *where.flags()]
    for row in rows:
        command += ["--study", row.id]
    # What it says is no result, so it goes where such things go.
    return subprocess.run(command, env=child_environment(), stdout=sys.stderr, check=False).returncode


def _result(ledger: "Ledger", row: "StudyRow") -> dict[str, Any]:
    fresh = ledger.study(row.id)
    reason = ledger.why_behind(row.id) if fresh.publishing != "current" else ""
    return {"id": row.id, "name": row.name, "publishing": fresh.publishing, "reason": reason}


def _all(ledger: "Ledger") -> "list[StudyRow]":
    rows, cursor = ledger.list_studies(1000)
    found = list(rows)
    while cursor:
        rows, cursor = ledger.list_studies(1000, cursor)
        found += rows
    return found
