"""`warmup-bench watch STUDY`: how far a study is that runs on a server, or by another command here."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from service.cli.options import Home, Json, StudyId, TrackingUri, places, print_json, say
from service.cli.server import KeyFile, ServerAddress, connected, find_study, named_server

if TYPE_CHECKING:
    from service.client import Client, Study, StudyWithSpec
    from workers.ledger.ledger import Ledger
    from workers.ledger.rows import EventRow, StudyRow
    from workers.places import Places

EXIT_FAILED, EXIT_INTERRUPTED = 1, 130
POLL_S = 0.5
EVENTS_PER_READ = 1_000


def watch(
    study: StudyId,
    server: ServerAddress = None,
    key_file: KeyFile = None,
    home: Home = None,
    tracking_uri: TrackingUri = None,
    as_json: Json = False,
) -> None:
    """Follow a study to its end, and print its verdict. Leaves it alone: Ctrl-C ends the watching only."""
    there = named_server(server, key_file, home)
    if there is None:
        raise typer.Exit(_watch_here(study, places(home, tracking_uri=tracking_uri), as_json=as_json))
    with connected(there) as client:
        from service.cli.following import end_with_answer

        final = follow_there(client, find_study(client, study))
        raise typer.Exit(end_with_answer(client, final, as_json=as_json))


def follow_there(client: "Client", study: "Study") -> "StudyWithSpec":
    """Show a study's progress on a server until it is final."""
    from service.cli.following import known_events, show_progress

    with leaving_it(client, study.id):
        show_progress(known_events(client.events(study.id)), study.total)
        return client.wait(study.id)  # it is final; the server may be away just now


@contextmanager
def leaving_it(client: "Client", study_id: str) -> Iterator[None]:
    """Say that an interrupted command leaves the study as it is."""
    try:
        yield
    except KeyboardInterrupt:
        say(f"left alone: study {study_id} goes on at {client.server}")
        say(f"`warmup-bench watch {study_id[:8]} --server {client.server}` follows it again; `cancel` ends it")
        raise typer.Exit(EXIT_INTERRUPTED) from None


def _watch_here(words: str, where: "Places", *, as_json: bool) -> int:
    from service.cli.answer import read_answer, show_answer
    from service.cli.following import show_progress
    from workers.ledger.ledger import Ledger

    with Ledger.open(where.home, create=False) as ledger:
        row = ledger.find_study(words)
        if _is_left_alone(ledger, row):
            say("nobody runs it now; `warmup-bench run` with its file continues it, or `serve` of this home")
        try:
            show_progress(_events(ledger, row), row.total)
        except KeyboardInterrupt:
            say(f"left alone: study {row.id} stays as it is; `warmup-bench watch {row.id[:8]}` follows it again")
            return EXIT_INTERRUPTED
        row = ledger.study(row.id)
        answer = read_answer(ledger, row, where.study_folder(row.id), where)
        if as_json:
            print_json(answer)
        else:
            show_answer(answer, typer.get_text_stream("stdout"))
        return EXIT_FAILED if row.state != "done" or answer["counts"]["errored"] else 0


def _events(ledger: "Ledger", row: "StudyRow") -> "Iterator[EventRow]":
    """The events of a study here, until it is final and all are told."""
    last = 0
    while True:
        is_final = ledger.study(row.id).state.is_final
        while events := ledger.events(row.id, after=last, limit=EVENTS_PER_READ):
            yield from events
            last = events[-1].seq
        if is_final:
            return
        time.sleep(POLL_S)


def _is_left_alone(ledger: "Ledger", row: "StudyRow") -> bool:
    lease = ledger.lease(row.id, "run")
    return not row.state.is_final and (lease is None or not lease.is_fresh)
