"""Follows a study's events over connections that may break: each event once, in order, without a gap."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from service.client.errors import ApiError, ServerUnreachable, StrangeAnswer
from service.client.sse import Message, read_messages
from service.client.transport import RETRY_MOST_S, Transport

SILENCE_S = 45.0
"""Three keep-alives may be lost before a connection counts as dead."""
PAUSE_FIRST_S = 0.2


class Event(BaseModel):
    """One event of a study; `seq` is 1, 2, 3, ... within it. `kind` is one of workers.ledger.rows.EventKind."""

    model_config = ConfigDict(frozen=True)

    seq: int
    at: datetime
    kind: str
    payload: dict[str, Any]


class Follower:
    """Reads one study's events from `after` on, until a stream of the final study has nothing more.

    Args:
        is_final: asks the server whether the study is.
        reconnect_s: so long the server may be away before its error is raised; an event begins the time anew.
    """

    def __init__(
        self, transport: Transport, path: str, *, after: int, is_final: Callable[[], bool], reconnect_s: float
    ) -> None:
        self._transport = transport
        self._path = path
        self._last = after
        self._is_final = is_final
        self._reconnect_s = reconnect_s

    def __iter__(self) -> Iterator[Event]:
        """The events.

        Raises:
            ServerUnreachable, StrangeAnswer, ApiError.
        """
        pause_s, was_final = 0.0, False
        away_since: float | None = None
        while True:
            before, begun, is_final = self._last, time.monotonic(), False
            try:
                yield from self._connection()
                is_final = self._is_known_final()
            except ServerUnreachable as error:
                if self._last > before or time.monotonic() - begun > SILENCE_S:
                    away_since = None
                away_since = away_since or time.monotonic()
                # One that could not even begin has been tried for all of that time already.
                if not error.may_have_acted or time.monotonic() - away_since >= self._reconnect_s:
                    raise
            # What ended a stream may have been a proxy, just before the last events: only an empty one tells.
            if was_final and is_final and self._last == before:
                return
            was_final = is_final
            # One that ends each stream at once is not to be asked a thousand times a second.
            pause_s = 0.0 if self._last > before or is_final else min(RETRY_MOST_S, 2 * pause_s or PAUSE_FIRST_S)
            time.sleep(pause_s)

    def _is_known_final(self) -> bool:
        """Whether the study is final. A server that has just stopped cannot tell: the next stream waits for it."""
        try:
            return self._is_final()
        except (ServerUnreachable, ApiError) as error:
            if not error.is_transient:
                raise
            return False

    def _connection(self) -> Iterator[Event]:
        headers = {"Last-Event-ID": str(self._last)} if self._last else {}
        stream = self._transport.stream(self._path, headers=headers, silence_s=SILENCE_S, retry_s=self._reconnect_s)
        with stream as pieces:
            for message in read_messages(pieces):
                event = _event(message, self._transport.server)
                if event.seq <= self._last:
                    continue
                if event.seq != self._last + 1:
                    raise ServerUnreachable(
                        f"{self._transport.server}: after event {self._last} came event {event.seq}; those between were"
                        " lost on the way",
                        may_have_acted=True,
                    )
                self._last = event.seq
                yield event


def _event(message: Message, server: str) -> Event:
    try:
        return Event.model_validate(json.loads(message.data))
    except (ValueError, ValidationError) as error:
        raise StrangeAnswer(f"{server}: a stream of events that holds something else") from error
