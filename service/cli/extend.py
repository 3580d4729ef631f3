"""`warmup-bench extend STUDY FILE`: add to a study what a wider file has, and train only that."""

from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import Problem, SpecError
from service.cli.options import (
    Data,
    Home,
    Json,
    Out,
    Plugins,
    Records,
    StudyId,
    TrackingUri,
    Workers,
    places,
    print_json,
    say,
)
from service.cli.server import KeyFile, ServerAddress, connected, find_study, named_server, study_json

if TYPE_CHECKING:
    from service.config import Server
    from workers.extending import ExtendResult


def extend(
    study: StudyId,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The whole study, wider: a YAML file.")],
    out: Out = None,
    home: Home = None,
    records: Records = None,
    data: Data = None,
    tracking_uri: TrackingUri = None,
    plugin: Plugins = None,
    workers: Workers = None,
    server: ServerAddress = None,
    key_file: KeyFile = None,
    as_json: Json = False,
) -> None:
    """Extend a study with the trials that a wider FILE has. What is missing is run, here or on a server."""
    there = named_server(server, key_file, home)
    if there is not None:
        ours = {
            "--out": out,
            "--records": records,
            "--data": data,
            "--tracking-uri": tracking_uri,
            "--plugin": plugin and plugin[0],
            "--workers": workers,
        }
        _extend_there(there, study, file, {flag: value for flag, value in ours.items() if value is not None}, as_json)
        return
    where = places(home, records, data, tracking_uri, plugin)
    # Imported after the first line: a person who has pressed enter wants to see that something happens.
    from service.cli.run import see_through
    from service.planning import notes
    from service.preparing import prepare_wider
    from service.requests import accept, check_workers
    from service.spec_files import read_document
    from workers.ledger.ledger import Ledger

    check_workers(workers)
    request = accept(read_document(file), where)
    where.check_writable()
    with Ledger.open(where.home, create=False) as ledger:
        prepared, found = prepare_wider(ledger, study, request, where, out)
        say(_opening(found, file, is_same_spec=found.row.spec_hash == request.study.spec_hash))
        for note in notes(request):
            say(note)
        status = see_through(ledger, prepared, where, workers, as_json=as_json)
    raise typer.Exit(status)


def _opening(found: "ExtendResult", file: str, *, is_same_spec: bool) -> str:
    row = found.row
    if found.round is not None:
        return f"study {row.id} ({row.name}): {found.num_new} new trials, {row.total} in all"
    said = f"study {row.id} ({row.name}): nothing new, it has all {row.total} trials of {file}"
    if is_same_spec:
        return said
    return f"{said}; `warmup-bench run {file}` answers what it asks otherwise (analysis, say), training nothing again"


def _extend_there(there: "Server", words: str, file: str, ours: dict[str, object], as_json: bool) -> None:
    if ours:
        flag, value = next(iter(ours.items()))
        raise SpecError(
            [Problem(flag, str(value), f"nothing: the study runs at {there.url}; `--server none` acts here")]
        )
    with connected(there) as client:
        from service.spec_files import read_document

        document = read_document(file)
        wider = client.extend(find_study(client, words).id, document)
        if as_json:
            print_json(study_json(wider))
            return
        print(wider.id)
        new = f"{wider.extension.num_new} new trials" if wider.extension.num_new else "nothing new"
        say(f"study {wider.id} ({wider.name}): {new}, {wider.total} in all, {wider.state}")
        say(f"`warmup-bench watch {wider.id[:8]} --server {there.url}` follows it")
