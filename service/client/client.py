"""The typed client of a warmup-bench server: `Client(server, key)`, one method per route.

with Client("http://127.0.0.1:8000", key) as client:
    study = client.submit(document)
    print(client.wait(study.id).state)
    print(client.verdict(study.id))

Requests that may be repeated without harm are repeated for a while when the server does not answer: all that reads, and
what changes something where twice is the same as once. A submission says by its Idempotency-Key which one it is.
"""

import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

import httpx

from schemas.errors import Problem, SpecError
from schemas.problems import show
from service.client.asking import Asking
from service.client.errors import ServerUnreachable, SubmitUnanswered
from service.client.events import Event, Follower
from service.client.models import Catalog, ExtendedStudy, Preset, Study, StudyWithSpec, Trial
from service.client.records import Ask, read_columns, read_table
from service.client.transport import HTML, JSON, PARQUET, TEXT, YAML, Transport
from service.client.waiting import wait_until_final
from service.config import checked_key, server_url
from service.strict_json import to_json

if TYPE_CHECKING:
    import pyarrow as pa

TIMEOUT_S, RETRY_S, RECONNECT_S = 60.0, 30.0, 300.0
REPORT_RETRY_S = 600.0
"""A report of a half-done study is written when it is asked for; until it is, the server says to come again."""
PAGE = 200
Document = Mapping[str, Any] | str
"""A study as a mapping, or as YAML text."""


class Client:
    """One server; may be shared by threads. Close it, or use it as a context manager.

    Args:
        server: its address, such as http://127.0.0.1:8000.
        key: made by `warmup-bench keys create`; None: what needs none is answered.
        timeout_s: how long the server may be silent within one answer.
        retry_s: how long a request that may be repeated is repeated; 0: never.

    Every method raises ClientError: ServerUnreachable, StrangeAnswer, or ApiError with the server's own words.
    """

    def __init__(
        self, server: str, key: str | None = None, *, timeout_s: float = TIMEOUT_S, retry_s: float = RETRY_S
    ) -> None:
        self.server = server_url(server, "server")
        key = None if key is None else checked_key(key, "key")
        self._asking = Asking(Transport(self.server, key, timeout_s=timeout_s, retry_s=retry_s))

    def close(self) -> None:
        """Close every connection."""
        self._asking.transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def submit(self, document: Document, *, priority: int | None = None, idempotency_key: str | None = None) -> Study:
        """Submit a study. However often a connection is lost on the way, there is one study.

        Args:
            priority: -100 to 100, 0 where not given; higher ones begin earlier.
            idempotency_key: the same key with the same document is the same study; made anew where not given.

        Raises:
            SubmitUnanswered: the study may have been accepted; it carries the key with which to ask again.
        """
        key = _checked_idempotency_key(idempotency_key or str(uuid.uuid4()))
        body = _body(document)
        body["headers"]["Idempotency-Key"] = key
        try:
            return self._asking.read(self._asking.send("POST", "studies", params={"priority": priority}, **body), Study)
        except ServerUnreachable as error:
            if not error.may_have_acted:
                raise
            raise SubmitUnanswered(error, key) from error

    def plan(self, document: Document) -> dict[str, Any]:
        """What a study would cost, and its spec with every default written out. Nothing is kept."""
        return self._asking.object(self._asking.send("POST", "studies:plan", **_body(document)))

    def studies(self, *, page: int = PAGE, **filters: Any) -> Iterator[Study]:
        """Every study that the key may read, newest first.

        Args:
            page: studies in one answer, at most 1,000.
            filters: `state`, `name` (whole, or its beginning and `*`), `created_after`, `created_before`.
        """
        return self._asking.pages("studies", Study, _texts(filters) | {"limit": page})

    def studies_page(self, limit: int, cursor: str | None = None, **filters: Any) -> tuple[list[Study], str | None]:
        """One page of studies, and the cursor of the next; None on the last."""
        return self._asking.page("studies", Study, _texts(filters) | {"limit": limit, "cursor": cursor})

    def study(self, study_id: str) -> StudyWithSpec:
        """A study with its spec."""
        return self._asking.get(_study(study_id), StudyWithSpec)

    def trials(self, study_id: str, *, page: int = PAGE, **filters: Any) -> Iterator[Trial]:
        """The trials of a study, in its order.

        Args:
            page: trials in one answer, at most 1,000.
            filters: `state`, `outcome`, `workload`, `optimizer`, `schedule`.
        """
        return self._asking.pages(f"{_study(study_id)}/trials", Trial, _texts(filters) | {"limit": page})

    def trial(self, trial_id: str) -> Trial:
        """The newest trial of that id that the key may read."""
        return self._asking.get(f"trials/{_part(trial_id)}", Trial)

    def records(
        self, trial_id: str, table: str = "steps", *, columns: Sequence[str] | None = None, **steps: int
    ) -> dict[str, list[Any]]:
        """What a trial has recorded so far: column -> values, sorted by step.

        Args:
            table: `steps`, `evaluations`, `probes`, `events` or `timings`.
            columns: all where not given.
            steps: `first_step`; `last_step`, inclusive; `every`, only steps that this number divides.
        """
        return read_columns(self._rows(trial_id, JSON), table, columns, steps)

    def records_table(
        self, trial_id: str, table: str = "steps", *, columns: Sequence[str] | None = None, **steps: int
    ) -> "pa.Table":
        """The same as an Arrow table, which is faster for many rows."""
        return read_table(self._rows(trial_id, PARQUET), table, columns, steps)

    def events(self, study_id: str, *, after: int = 0, reconnect_s: float = RECONNECT_S) -> Iterator[Event]:
        """What happens in a study, from the event behind `after` to its end: each once, in order, none left out.

        A connection that breaks is taken up again; a server may be away for `reconnect_s`.
        """
        path = f"v1/{_study(study_id)}/events"
        follower = Follower(
            self._asking.transport,
            path,
            after=after,
            is_final=lambda: self.study(study_id).state.is_final,
            reconnect_s=reconnect_s,
        )
        return iter(follower)

    def wait(self, study_id: str, *, timeout_s: float | None = None, reconnect_s: float = RECONNECT_S) -> StudyWithSpec:
        """The study once it is final. Asks every few seconds; a server may be away for `reconnect_s`.

        Raises:
            WaitTimeout: it is not final within `timeout_s`.
        """
        return wait_until_final(self._asking, _study(study_id), timeout_s=timeout_s, reconnect_s=reconnect_s)

    def cancel(self, study_id: str, *, version: int | None = None) -> Study:
        """Ask for a study to be cancelled: what is done is kept. A final one stays as it is.

        Args:
            version: cancel only if the study still has this version.
        """
        path = f"{_study(study_id)}:cancel"
        if version is None:
            return self._asking.read(self._asking.send("POST", path), Study)
        # Not repeated: the first one may have changed the version, and the second would be refused for it.
        headers = {"If-Match": f'"{version}"'}
        return self._asking.read(self._asking.send("POST", path, may_repeat=False, headers=headers), Study)

    def extend(self, study_id: str, document: Document, *, idempotency_key: str | None = None) -> ExtendedStudy:
        """Widen a study to a document that holds every trial of it; only what is missing is run.

        Doing so twice is doing so once, and is answered alike: it is repeated when no answer comes.

        Args:
            idempotency_key: a new one where not given.
        """
        body = _body(document)
        body["headers"]["Idempotency-Key"] = _checked_idempotency_key(idempotency_key or str(uuid.uuid4()))
        return self._asking.read(self._asking.send("POST", f"{_study(study_id)}:extend", **body), ExtendedStudy)

    def report(self, study_id: str) -> dict[str, Any]:
        """The report as data: verdict, ranking, figures' numbers. Of a half-done study too."""
        return self._asking.object(self._report(study_id, JSON))

    def report_file(self, study_id: str) -> bytes:
        """The same as the bytes of a file."""
        return self._report(study_id, JSON).content

    def report_page(self, study_id: str) -> bytes:
        """The report as one HTML file."""
        return self._report(study_id, HTML).content

    def verdict(self, study_id: str) -> str:
        """The verdict in words."""
        return self._report(study_id, TEXT).text

    def study_log(self, study_id: str) -> str:
        """The end of the log of the study's driver. ApiError `log_not_found`: there is none."""
        return self._asking.send("GET", f"{_study(study_id)}/log", accept=TEXT).text

    def trial_log(self, trial_id: str) -> str:
        """What attempts at a trial have said that failed. ApiError `log_not_found`: none did."""
        return self._asking.send("GET", f"trials/{_part(trial_id)}/log", accept=TEXT).text

    def catalog(self) -> Catalog:
        """Every kind that a study may name, with its JSON Schema, and the data sets that are there."""
        return self._asking.get("catalog", Catalog)

    def presets(self) -> list[Preset]:
        """The studies that ship with the server."""
        return list(self._asking.pages("presets", Preset, {"limit": PAGE}))

    def preset(self, name: str) -> str:
        """The YAML of one of them."""
        return self._asking.send("GET", f"presets/{_part(name)}", accept=YAML).text

    def _report(self, study_id: str, accept: str) -> httpx.Response:
        return self._asking.send("GET", f"{_study(study_id)}/report", accept=accept, retry_s=REPORT_RETRY_S)

    def _rows(self, trial_id: str, accept: str) -> Ask:
        path = f"trials/{_part(trial_id)}/records"
        return lambda params: self._asking.send("GET", path, accept=accept, params=params)


def _body(document: Document) -> dict[str, Any]:
    if isinstance(document, str):
        return {"content": document.encode(), "headers": {"Content-Type": YAML}}
    return {"content": to_json(dict(document)), "headers": {"Content-Type": JSON}}


def _texts(filters: Mapping[str, Any]) -> dict[str, Any]:
    """Times with their zone, as queries carry them."""
    return {name: value.isoformat() if hasattr(value, "isoformat") else value for name, value in filters.items()}


def _checked_idempotency_key(text: str) -> str:
    if not re.fullmatch(r"[\x21\x23-\x7e][\x21-\x7e]{0,254}", text):
        allowed = "1 to 255 visible ASCII characters, the first of them no quote"
        raise SpecError([Problem("idempotency_key", show(text), allowed)])
    return text


def _study(study_id: str) -> str:
    return f"studies/{_part(study_id)}"


def _part(text: str) -> str:
    """A text as one part of a path: never a `/`, never `..`."""
    return quote(text, safe="").replace(".", "%2E") or "-"
