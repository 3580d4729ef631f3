"""A command that acts on a server: which one, what it says first, and how its errors read."""

import math
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schemas.errors import SpecError, WarmupBenchError
from service.cli.options import say

if TYPE_CHECKING:
    from service.client import ApiError, Client, Study, StudyWithSpec
    from service.config import Server

EXIT_REFUSED = 2
RETRY_S = 5.0
"""So long a person waits for a server that is not there; one that was there and follows a study has minutes."""
NOTICE_EVERY_S = 60.0
SERVER_HELP = "Act on this server (WARMUP_BENCH_SERVER, config.toml); `none`: act here."
ServerAddress = Annotated[str | None, typer.Option("--server", metavar="URL", help=SERVER_HELP)]
KeyFile = Annotated[
    str | None, typer.Option("--key-file", metavar="FILE", help="The server's key (WARMUP_BENCH_KEY, config.toml).")
]
REFUSING = (400, 413, 415, 422)
"""Statuses that say: what was sent is wrong."""


class ServerRefused(WarmupBenchError):
    """What a server answered, with what to do about it."""

    code = "server_refused"


def named_server(
    server: str | None, key_file: str | None, home: str | None, *, default: str | None = None
) -> "Server | None":
    """The server that the flag, the environment or a config file names; None: act here.

    Raises:
        SpecError, PlaceError: as `service.config.find_server`.
    """
    from service.config import find_server
    from workers.places import Places

    return find_server(server, key_file, Places.resolve(home=home, tracking_uri="none").home, default=default)


@contextmanager
def connected(there: "Server") -> Iterator["Client"]:
    """A client of that server; says where the command acts, and explains what goes wrong.

    Raises:
        SpecError: the server refused fields. ServerRefused: it refused otherwise. ClientError: no answer of its.
        typer.Exit: status 2, it refused what was sent as a whole.
    """
    say(f"warmup-bench: server {there.url}")
    # Imported after the first line: a person who has pressed enter wants to see that something happens.
    import stamina

    from service.client import ApiError, Client

    if there.url.startswith("http://") and not there.is_loopback and there.key is not None:
        say("the key and all that follows goes over the network in the clear: use https:// where others may listen")
    stamina.instrumentation.set_on_retry_hooks([_Notices(there.url)])
    try:
        with Client(there.url, there.key, retry_s=RETRY_S) as client:
            yield client
    except ApiError as error:
        _explain(error, there)
    finally:
        stamina.instrumentation.set_on_retry_hooks(None)


def find_study(client: "Client", words: str) -> "StudyWithSpec":
    """The study that a person means: by its id, its name, the first digits of an id, or its result folder's name.

    Raises:
        ServerRefused: none, or several.
    """
    if re.fullmatch("[0-9a-f]{16}", words):
        return client.study(words)
    found = [study for study in client.studies(name=words) if study.name == words] or _by_prefix(client, words)
    if len(found) == 1:
        return client.study(found[0].id)
    if not found:
        raise ServerRefused(f"no study {words!r} at {client.server}; `warmup-bench list` shows those that are there")
    lines = [f"  {study.id}  {study.state:9}  {study.created_at:%Y-%m-%d %H:%M:%S}  {study.name}" for study in found]
    raise ServerRefused("\n".join([f"several studies are {words!r}; name one by its id:", *lines[:10]]))


def _by_prefix(client: "Client", words: str) -> "list[Study]":
    folder = re.fullmatch(r"(?:(?P<name>.+)-)?(?P<digits>[0-9a-f]{1,15})", words)
    if folder is None:
        return []
    begin = [study for study in client.studies(page=1_000) if study.id.startswith(folder["digits"])]
    if folder["name"] is None:
        return begin
    return [study for study in begin if study.name.replace(" ", "-") == folder["name"]]


def study_json(study: "Study") -> dict[str, Any]:
    """A study for `--json`: the resource, as the server gave it."""
    return study.model_dump(mode="json")


class _Notices:
    """Says that a server does not answer, at most once a minute."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._said_at = -math.inf

    def __call__(self, details: Any) -> None:
        if time.monotonic() - self._said_at >= NOTICE_EVERY_S:
            self._said_at = time.monotonic()
            say(f"{self._url} does not answer, or asks to wait; asking again ...")


def _explain(error: "ApiError", there: "Server") -> None:
    if error.errors and error.status in REFUSING:
        raise SpecError(list(error.errors)) from error
    if error.status in REFUSING:
        say(f"error: {error}")
        raise typer.Exit(EXIT_REFUSED) from error
    if error.status == 401 and there.key is None:
        raise ServerRefused(
            f"{there.url} wants a key and none was found: give one with --key-file, WARMUP_BENCH_KEY or `key` in"
            " config.toml. Where the server runs, `warmup-bench keys create` makes one"
        ) from error
    if error.status in (401, 403):
        raise ServerRefused(
            f"{error}. The key is that of {there.key_from}; give another with --key-file or WARMUP_BENCH_KEY. Where the"
            " server runs, `warmup-bench keys create` makes one"
        ) from error
    raise error
