"""Who hears of a study's events while they happen: one poller for all listeners of this process.

The poller asks for the newest event numbers of every study that somebody listens to, in one query, and reads what is
new once per study. It keeps the newest few events of each; a listener that is further behind (it has just come, or is
slow) reads them from the ledger itself, a page at a time. So a listener is a number and a waiting task: no thread, no
database connection, no queue that grows. Event numbers are those of the ledger: any replica takes a stream up.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeVar

import structlog

from schemas.errors import PlaceError
from workers.ledger.ledger import Ledger
from workers.ledger.rows import EventRow

POLL_S = 0.5
"""How old an event may be before its listeners hear of it."""
RETRY_S = 5.0
"""Until the next try where the ledger could not be read."""
TAIL_EVENTS = 500
"""The newest events of each study, kept for all of its listeners together."""
KEEP_ALIVE_S = 15.0
"""A stream that is silent for longer looks dead to what lies between."""
MAX_STREAM_S = 900.0
"""Then a stream ends, and its listener comes again: none holds a replica for ever."""
PAGE_EVENTS = 100
"""What one listener that is behind reads, and holds, at a time."""
CATCHING_UP = 2
"""Listeners that read from the ledger at the same moment."""

log = structlog.get_logger("warmup_bench.live")
Answer = TypeVar("Answer")
Asked = Callable[[], Awaitable[bool]]


async def _always() -> bool:
    return True


@dataclass
class _Watched:
    """A study with listeners. The newest event known is `seq`; `tail` ends with it, or is empty."""

    num_listeners: int = 0
    seq: int | None = None
    is_final: bool = False
    """The study was final when its newest event was `seq`."""
    is_gone: bool = False
    tail: deque[EventRow] = field(default_factory=lambda: deque(maxlen=TAIL_EVENTS))
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def has_more_than(self, position: int) -> bool:
        """Whether there are events behind number `position`."""
        return self.seq is not None and position < self.seq

    def tell(self) -> None:
        """Wake every listener."""
        self.changed.set()
        self.changed = asyncio.Event()


@dataclass(frozen=True)
class _News:
    """What one poll says of one study: its newest number, whether it was final then, the events that were not known."""

    seq: int
    is_final: bool
    events: list[EventRow]


class LiveEvents:
    """The events of studies, live. One per process and ledger, used from one event loop."""

    def __init__(self, ledger: Ledger, *, poll_s: float = POLL_S) -> None:
        """Starts nothing: the poller runs while there are listeners."""
        self._ledger = ledger
        self._poll_s = poll_s
        self._watched: dict[str, _Watched] = {}
        self._poller: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._catching_up = asyncio.Semaphore(CATCHING_UP)
        self._threads = ThreadPoolExecutor(CATCHING_UP + 1, thread_name_prefix="live")
        self._closed = False

    @property
    def num_listeners(self) -> int:
        """Streams that are open now."""
        return sum(watched.num_listeners for watched in self._watched.values())

    async def follow(
        self, study_id: str, after: int = 0, *, max_s: float = MAX_STREAM_S, may_go_on: Asked = _always
    ) -> AsyncGenerator[EventRow | None, None]:
        """Every event with a number above `after`, in order, each once; ends behind the last one of a final study.

        None comes where nothing has happened for KEEP_ALIVE_S. A number that the study has not reached yet is waited
        for. The stream also ends after `max_s` seconds, where the study is removed, and when this object is closed; who
        listens can tell by the last event's kind.

        Args:
            may_go_on: asked before each page of events and after each None; the stream ends where it says no.
        """
        ends_at = time.monotonic() + max_s
        with self._listening(study_id) as watched:
            position = after
            while not self._closed and time.monotonic() < ends_at and await may_go_on():
                changed = watched.changed  # taken before looking, so that what comes meanwhile wakes this listener
                for event in await self._next_events(study_id, watched, position):
                    yield event
                    position = event.seq
                if watched.has_more_than(position):
                    continue
                if watched.is_final or watched.is_gone:
                    return
                if not await _within(min(KEEP_ALIVE_S, ends_at - time.monotonic()), changed):
                    yield None

    async def close(self) -> None:
        """End every stream, and the poller."""
        self._closed = True
        for watched in self._watched.values():
            watched.tell()
        self._wake.set()
        if self._poller is not None:
            await asyncio.wait([self._poller])
        self._threads.shutdown(wait=False)

    @contextmanager
    def _listening(self, study_id: str) -> Iterator[_Watched]:
        watched = self._watched.setdefault(study_id, _Watched())
        watched.num_listeners += 1
        if watched.seq is None:
            self._wake.set()
        if not self._closed and (self._poller is None or self._poller.done()):
            self._poller = asyncio.get_running_loop().create_task(self._poll_while_watched(), name="live-poller")
        try:
            yield watched
        finally:
            watched.num_listeners -= 1
            if watched.num_listeners == 0:
                del self._watched[study_id]

    async def _next_events(self, study_id: str, watched: _Watched, position: int) -> list[EventRow]:
        """At most a page of the events behind `position`, and none that the poller has not seen yet."""
        if watched.seq is None or not watched.has_more_than(position):
            return []
        if watched.tail and watched.tail[0].seq <= position + 1:
            first = position + 1 - watched.tail[0].seq
            return [watched.tail[index] for index in range(first, min(first + PAGE_EVENTS, len(watched.tail)))]
        newest = watched.seq
        async with self._catching_up:
            if self._closed:  # while this one waited for its turn: the threads are gone
                return []
            try:
                page = await self._in_thread(lambda: self._ledger.events(study_id, position, PAGE_EVENTS))
            except PlaceError as error:
                log.warning("events could not be read", study_id=study_id, error=str(error))
                await asyncio.sleep(RETRY_S)
                return []
        # What is newer comes from the poller, which knows whether it was the study's end.
        return [event for event in page if event.seq <= newest]

    async def _poll_while_watched(self) -> None:
        while self._watched and not self._closed:
            self._wake.clear()
            known = {study_id: watched.seq for study_id, watched in self._watched.items()}
            try:
                news = await self._in_thread(lambda known=known: _look(self._ledger, known))
            except Exception as error:  # whatever it is: without the poller, every listener would wait for ever
                log.warning("the ledger could not be polled", error=f"{type(error).__name__}: {error}")
                await _within(RETRY_S, self._wake)
                continue
            if not self._take(known, news):
                await _within(self._poll_s, self._wake)

    def _take(self, known: Mapping[str, int | None], news: Mapping[str, _News]) -> bool:
        """Note what a poll said and wake whom it concerns. True: there is more to be read at once."""
        is_behind = False
        for study_id, seq in known.items():
            watched = self._watched.get(study_id)
            if watched is None or watched.seq != seq:  # the listeners have gone, and perhaps others have come
                continue
            before = (watched.seq, watched.is_final)
            if study_id not in news:
                watched.is_gone = True
                watched.tell()
                continue
            new = news[study_id]
            watched.tail.extend(new.events)
            watched.seq = new.seq if seq is None else new.events[-1].seq if new.events else seq
            watched.is_final = new.is_final and watched.seq == new.seq
            is_behind = is_behind or watched.seq < new.seq
            if (watched.seq, watched.is_final) != before:
                watched.tell()
        return is_behind

    async def _in_thread(self, work: Callable[[], Answer]) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


async def _within(seconds: float, event: asyncio.Event) -> bool:
    """Wait for the event, so long at most; whether it came."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):  # unlike wait_for of Python 3.11, it never swallows a cancellation
            await event.wait()
            return True
    return False


def _look(ledger: Ledger, known: Mapping[str, int | None]) -> dict[str, _News]:
    """What is new of each study; one that is not in the ledger is left out."""
    news = {}
    for study_id, (seq, state) in ledger.standings(list(known)).items():
        last = known[study_id]
        events = ledger.events(study_id, last, TAIL_EVENTS) if last is not None and last < seq else []
        news[study_id] = _News(seq, state.is_final, events)
    return news
