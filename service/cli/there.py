"""`list`, `show` and `report` of the studies of a server: the same output as here."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from schemas.problems import escaped
from service.cli.options import print_json, say
from service.cli.server import connected, find_study, study_json

if TYPE_CHECKING:
    from service.client import Study
    from service.config import Server


def list_there(there: "Server", limit: int, cursor: str | None, *, as_json: bool) -> tuple[list[dict[str, Any]], Any]:
    """One page of a server's studies as `list` prints them, and the cursor of the next."""
    with connected(there) as client:
        studies, following = client.studies_page(limit, cursor)
    return [study_json(study) if as_json else _line_item(study) for study in studies], following


def show_there(there: "Server", words: str, *, as_json: bool) -> None:
    """Print where a study of a server stands, with its verdict once it is final."""
    with connected(there) as client:
        from service.cli.following import server_answer

        study = find_study(client, words)
        answer = server_answer(client, study)
    if as_json:
        print_json({**answer, "spec": study.spec})
        return
    states = ("queued", "running", "done", "cancelled", "errored")
    counts = {name: getattr(study.counts, name) for name in states}
    said = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    print(f"{study.id}  {escaped(study.name)}  {study.state}  {said}")
    if study.reason:
        print(f"reason     {escaped(study.reason)}")
    print(f"publishing {study.publishing}")
    if answer["verdict"]:
        print(
            f"report     warmup-bench report {study.id[:8]} --server {there.url}\n\n{_text(answer['verdict'])}", end=""
        )


def report_there(there: "Server", words: str, out: Path | None, *, as_json: bool) -> None:
    """Write a server's report of a study, finished or not, into a folder here.

    Raises:
        PlaceError: the folder holds something else, or cannot be written.
    """
    from workers.results.folder import SPEC_FILE, check_folder, claim_folder, default_folder_name, mark
    from workers.results.write import as_yaml

    with connected(there) as client:
        study = find_study(client, words)
        # What a server says is no path: its names become one part of one, or none.
        name = study.name if "/" not in study.name and study.name.isprintable() else "study"
        folder = (out or Path(default_folder_name(name, study.id))).absolute()
        check_folder(folder, study.id)
        say(f"writing {folder}")
        verdict = client.verdict(study.id)
        files = {
            # The file with the mark goes first: a folder that is cut short is then known as ours.
            SPEC_FILE: (mark(study.id) + as_yaml(study.spec)).encode(),
            "report.json": client.report_file(study.id),
            "report.html": client.report_page(study.id),
            "verdict.txt": verdict.encode(),
        }
    claim_folder(folder, study.id)
    for file, content in files.items():
        (folder / file).write_bytes(content)
    if as_json:
        print_json({"folder": str(folder), "verdict": verdict})
        return
    print(f"{_text(verdict)}\nreport {folder / 'report.html'}")
    say(
        "no tables: the server hands out a trial's rows at /v1/trials/ID/records (service.client:"
        " Client(...).records_table(ID))"
    )


def _line_item(study: "Study") -> dict[str, Any]:
    return {
        "id": study.id,
        "name": escaped(study.name),
        "state": str(study.state),
        "done": study.counts.done,
        "total": study.total,
        "created_at": study.created_at.isoformat(timespec="seconds"),
    }


def _text(verdict: str) -> str:
    return "\n".join(escaped(line) for line in verdict.split("\n"))
