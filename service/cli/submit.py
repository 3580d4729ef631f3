"""`warmup-bench submit FILE`: a study for a server, which goes on without us."""

from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import Problem, SpecError
from service.cli.options import Home, Json, print_json, say
from service.cli.server import KeyFile, ServerAddress, connected, named_server, study_json
from service.cli.watch import follow_there

if TYPE_CHECKING:
    from service.client import Client, StudyWithSpec


def submit(
    file: Annotated[str, typer.Argument(metavar="FILE|PRESET", help="The study: a YAML file, or a preset's name.")],
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it is final; end with its verdict.")] = False,
    follow: Annotated[bool, typer.Option("--follow", help="The same, and show how far it is.")] = False,
    priority: Annotated[
        int | None, typer.Option("--priority", metavar="N", help="-100 to 100; higher ones begin earlier (default 0).")
    ] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="The same key with the same study makes no second one.")
    ] = None,
    server: ServerAddress = None,
    key_file: KeyFile = None,
    home: Home = None,
    as_json: Json = False,
) -> None:
    """Submit a study to a server. The default is the one that `serve` starts on this machine."""
    from service.config import DEFAULT_SERVER

    there = named_server(server, key_file, home, default=DEFAULT_SERVER)
    if there is None:
        raise SpecError([Problem("--server", "none", "a server to submit to; `warmup-bench run` runs a study here")])
    with connected(there) as client:
        from service.spec_files import read_document

        document = read_document(file)
        study = client.submit(document, priority=priority, idempotency_key=idempotency_key)
        say(f"study {study.id} ({study.name}): {study.total} trials, {study.state}")
        if wait or follow:
            final = follow_there(client, study) if follow else _waited(client, study.id)
            raise typer.Exit(_end(client, final, as_json=as_json))
        if as_json:
            print_json(study_json(study))
        else:
            print(study.id)
            say(f"`warmup-bench watch {study.id[:8]} --server {there.url}` follows it")


def _waited(client: "Client", study_id: str) -> "StudyWithSpec":
    from service.cli.watch import leaving_it

    with leaving_it(client, study_id):
        return client.wait(study_id)


def _end(client: "Client", study: "StudyWithSpec", *, as_json: bool) -> int:
    from service.cli.following import end_with_answer

    return end_with_answer(client, study, as_json=as_json)
