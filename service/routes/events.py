"""GET /v1/studies/{id}/events: what happens in a study, as server-sent events, from any number on."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import Receive, Scope, Send

from service.codes import Code
from service.documented import EVENT, problems
from service.errors import ApiProblem
from service.live import Asked, LiveEvents
from service.parameters import ONCE
from service.resources import Resource
from service.security import KeyWatch, LedgerOf, Reader, key_watch
from service.strict_json import to_json
from service.studies import visible_head
from workers.ledger.rows import EventKind, EventRow

MAX_LISTENERS = 5_000
"""Of one process; each costs tens of kilobytes."""
RETRY_AFTER_S = 30
RECONNECT_MS = 2_000
"""What a browser that has lost the connection waits before it comes again."""
_SEQ = re.compile(r"[0-9]{1,18}")
# OpenAPI 3.1 has no word for the items of a stream. No type: readers that know streams would hold each event to it.
_STREAM_SCHEMA = {
    "description": f"Server-sent events. Of each, `id` is the event's number, `event` its kind, and `data` one line of"
    f" JSON that #/components/schemas/{EVENT} describes.",
}

router = APIRouter(prefix="/v1", tags=["studies"])


class EventResource(Resource):
    """One event: the `data` of a server-sent event, whose `id` is `seq` and whose `event` is `kind`."""

    seq: int = Field(description="1, 2, 3, ... within the study, without a gap, in the order of commits")
    at: datetime
    kind: EventKind
    payload: dict[str, Any]


class EventsQuery(BaseModel):
    """For those who cannot send a header: `after` is what Last-Event-ID is, which wins."""

    model_config = ConfigDict(extra="forbid")

    after: int = Field(0, ge=0, le=10**18)


def event_schema() -> dict[str, Any]:
    """The `data` of one server-sent event, as a component of the OpenAPI document."""
    schema = EventResource.model_json_schema(mode="serialization")
    schema["properties"]["kind"] = schema.pop("$defs")["EventKind"]  # a reference would be to the whole document
    return schema


@dataclass(frozen=True)
class Listening:
    """A stream that may begin: whose events, behind which number. `is_over`: nothing will come."""

    study_id: str
    after: int
    is_over: bool


def _listening(
    request: Request,
    study_id: str,
    principal: Reader,
    ledger: LedgerOf,
    query: Annotated[EventsQuery, Query()],
    last_event_id: Annotated[str | None, Header(description="The id of the last event that was received.")] = None,
) -> Listening:
    """In a thread, since it reads the ledger; the stream itself has none."""
    study = visible_head(ledger, principal, study_id)
    number = _number(last_event_id) if last_event_id else query.after
    if _live(request).num_listeners >= MAX_LISTENERS:
        retry = {"Retry-After": str(RETRY_AFTER_S)}
        raise ApiProblem(Code.LISTENERS_FULL, f"allowed at most {MAX_LISTENERS} streams; come later", headers=retry)
    return Listening(study.id, number, study.state.is_final and number >= study.last_event_seq)


class _Stream(EventSourceResponse):
    """Not FastAPI's loop around a generator: it fails, as the service would, where a listener leaves that is behind."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        async with aclosing(self.body_iterator):  # type: ignore[type-var]  # at once, not when it is collected
            await super().__call__(scope, receive, send)


@router.get(
    "/studies/{study_id:id}/events",
    operation_id="follow_study_events",
    dependencies=[ONCE],
    response_class=Response,
    responses={
        200: {"description": "The events.", "content": {"text/event-stream": {"schema": _STREAM_SCHEMA}}},
        204: {"description": "The study is final and has no event behind that number."},
        **problems(400, 401, 403, 404, 422),
    },
)
async def follow_study_events(
    request: Request,
    listening: Annotated[Listening, Depends(_listening)],
    watch: Annotated[KeyWatch, Depends(key_watch)],
) -> Response:
    """Every event of a study, first those that were, then those that come, each once and in order.

    The stream ends behind the last event of a final study, soon after its key is revoked, and after a while in any
    case: come again with Last-Event-ID and nothing is missed, on whichever replica. A number that the study has not
    reached is waited for; one that is no number is a 400. A comment comes every 15 s while nothing happens.
    """
    if listening.is_over:
        return Response(status_code=204)  # tells a browser's EventSource not to come again
    # Neither may a cache keep the stream nor a proxy hold it back until it ends.
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return _Stream(_stream(_live(request), listening, watch), headers=headers)


async def _stream(live: LiveEvents, listening: Listening, may_go_on: Asked) -> AsyncIterator[bytes]:
    yield format_sse_event(comment=f"study {listening.study_id}", retry=RECONNECT_MS)
    async with aclosing(live.follow(listening.study_id, listening.after, may_go_on=may_go_on)) as events:
        async for event in events:
            yield KEEPALIVE_COMMENT if event is None else _as_sse(event)
            await asyncio.sleep(0)  # a stream that always has something to send would not notice that nobody listens


def _as_sse(event: EventRow) -> bytes:
    resource = EventResource(seq=event.seq, at=event.at, kind=event.kind, payload=event.payload)
    return format_sse_event(data_str=to_json(resource).decode(), event=str(event.kind), id=str(event.seq))


def _number(last_event_id: str) -> int:
    if not _SEQ.fullmatch(last_event_id):
        raise ApiProblem(
            Code.LAST_EVENT_ID, f"Last-Event-ID: got {last_event_id[:40]!r}, allowed the id of an event of this study"
        )
    return int(last_event_id)


def _live(request: Request) -> LiveEvents:
    live: LiveEvents = request.app.state.live
    return live
