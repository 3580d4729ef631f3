"""`warmup-bench report STUDY`: write a study's result folder again, from the ledger and the records."""

from pathlib import Path

from service.cli.options import Home, Json, Out, Records, StudyId, places, print_json, say
from service.cli.server import KeyFile, ServerAddress, named_server


def report(
    study: StudyId,
    out: Out = None,
    home: Home = None,
    records: Records = None,
    server: ServerAddress = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Write tables and report of a study, finished or not. Of a server's study: the report alone."""
    there = named_server(server, key_file, home)
    if there is not None:
        from service.cli.there import report_there

        report_there(there, study, out, as_json=as_json)
        return
    where = places(home, records)
    from workers.ledger.ledger import Ledger
    from workers.results.folder import check_folder, default_folder_name
    from workers.results.write import write_results

    with Ledger.open(where.home, create=False) as ledger:
        row = ledger.find_study(study)
        folder = (out or Path(default_folder_name(row.name, row.id))).absolute()
        check_folder(folder, row.id)
        say(f"writing {folder}")
        written = write_results(ledger, row.id, where, folder)
    if as_json:
        print_json({"folder": str(folder), "verdict": written.verdict})
        return
    print(f"{written.verdict}\nreport {folder / 'report.html'}")
