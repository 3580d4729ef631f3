"""`warmup-bench show STUDY`: where a study stands."""

from service.cli.options import Home, Json, StudyId, TrackingUri, places, print_json
from service.cli.server import KeyFile, ServerAddress, named_server


def show(
    study: StudyId,
    home: Home = None,
    tracking_uri: TrackingUri = None,
    server: ServerAddress = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Show a study's state, counts and verdict."""
    there = named_server(server, key_file, home)
    if there is not None:
        from service.cli.there import show_there

        show_there(there, study, as_json=as_json)
        return
    where = places(home, tracking_uri=tracking_uri)
    from service.cli.answer import read_answer
    from workers.ledger.ledger import Ledger

    with Ledger.open(where.home, create=False) as ledger:
        row = ledger.find_study(study)
        answer = read_answer(ledger, row, where.study_folder(row.id), where)
    if as_json:
        print_json({**answer, "created_at": row.created_at.isoformat(), "spec": row.spec})
        return
    counts = ", ".join(f"{count} {name}" for name, count in answer["counts"].items() if count)
    print(f"{row.id}  {row.name}  {answer['state']}  {counts}")
    if answer["reason"]:
        print(f"reason     {answer['reason']}")
    why = f": {answer['publishing_reason']}" if answer["publishing_reason"] else ""
    print(f"publishing {answer['publishing']}{why}")
    if answer["report"]:
        print(f"report     {answer['report']}\n\n{answer['verdict']}", end="")
