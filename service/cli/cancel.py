"""`warmup-bench cancel STUDY`: end a study, on a server or here; what is done is kept."""

from service.cli.options import Home, Json, StudyId, places, print_json
from service.cli.server import KeyFile, ServerAddress, connected, find_study, named_server, study_json


def cancel(
    study: StudyId, server: ServerAddress = None, key_file: KeyFile = None, home: Home = None, as_json: Json = False
) -> None:
    """Cancel a study. Its finished trials are kept; asking again changes nothing."""
    there = named_server(server, key_file, home)
    if there is not None:
        with connected(there) as client:
            found = client.cancel(find_study(client, study).id)
            _print(study_json(found), as_json=as_json)
        return
    where = places(home)
    from workers.ledger.ledger import Ledger

    with Ledger.open(where.home, create=False) as ledger:
        row = ledger.find_study(study)
        ledger.request_cancel(row.id)
        row = ledger.study(row.id)
        said = {"id": row.id, "name": row.name, "state": str(row.state), "reason": row.reason}
        _print(said | {"cancel_requested": row.cancel_requested}, as_json=as_json)


def _print(said: dict[str, object], *, as_json: bool) -> None:
    if as_json:
        print_json(said)
        return
    stops = said["cancel_requested"] and said["state"] in ("queued", "running")
    print(f"{said['id']}  {said['state']}{', stops within seconds; what is done is kept' if stops else ''}")
