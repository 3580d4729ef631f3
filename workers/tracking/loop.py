"""Pulls publications from a source, publishes them with retries, and acknowledges each: in nobody's way.

Short trouble is retried at once by stamina; longer trouble makes the loop wait, twice as long each time, and the study
`behind`. Nothing is dropped: what was not acknowledged is pulled again.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import partial
from typing import Protocol, TypeVar

import stamina

from workers.tracking.port import PublicationRefused, TrackerUnavailable
from workers.tracking.publications import (
    Acknowledgement,
    ParentPublication,
    StudyPublication,
    StudyRuns,
    TrialPublication,
)
from workers.tracking.publisher import Publisher

T = TypeVar("T")


class PublishingState(StrEnum):
    """`publishing` of a study."""

    CURRENT = "current"
    BEHIND = "behind"


class Source(Protocol):
    """Where publications come from: the ledger and the records. Used from one thread. Its errors end the loop."""

    def study(self) -> StudyPublication:
        """What the experiment and the parent run are made from."""

    def next_batch(self) -> Sequence[TrialPublication | ParentPublication]:
        """Some of what is not acknowledged; empty when there is nothing now. Keys in a batch are unique."""

    def opened(self, runs: StudyRuns) -> None:
        """Called before the first batch, and again where the tracker was wiped meanwhile. `runs.created`: the store is
        new, older acknowledgements are void."""

    def acknowledge(self, acknowledgement: Acknowledgement) -> None:
        """The tracker holds this. For the parent: its key (the study's id), its run, `ended`."""

    def refuse(self, key: str, reason: str) -> None:
        """The tracker will never take this one: do not offer it again as it is."""

    def report(self, state: PublishingState, reason: str) -> None:
        """The state has changed; `reason` says why it is behind."""


def run_publisher(
    source: Source,
    publisher: Publisher,
    stop: threading.Event,
    *,
    drain_s: float = 60.0,
    while_it_moves: bool = False,
    poll_s: float = 1.0,
    max_pause_s: float = 30.0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> PublishingState:
    """Publish until `stop` is set, then what is left, for at most `drain_s` more; how it stands then.

    With `stop` set from the start it catches up and returns; with `while_it_moves`, `drain_s` then counts from the last
    success, so that much is caught up with and a tracker that is down still ends it. A call that hangs is not
    interrupted: whoever must not wait for it uses BackgroundPublisher.
    """
    return _Loop(source, publisher, stop, drain_s, while_it_moves, poll_s, max_pause_s, clock, sleep).run()


class BackgroundPublisher:
    """`run_publisher` in a daemon thread, which a slow or hanging tracker can hold up but not its owner."""

    def __init__(self, source: Source, publisher: Publisher, *, drain_s: float = 60.0, poll_s: float = 1.0) -> None:
        self._drain_s = drain_s
        self._stop = threading.Event()
        self._result: PublishingState | BaseException = PublishingState.BEHIND
        self._thread = threading.Thread(
            target=self._run, args=(source, publisher, poll_s), name="publisher", daemon=True
        )
        self._thread.start()

    def stop(self, grace_s: float = 1.0) -> PublishingState:
        """Drain for at most `drain_s` and return within `grace_s` more, whatever the tracker does.

        Raises:
            whatever the source raised (StaleFence, say), which ended the loop.
        """
        self._stop.set()
        self._thread.join(self._drain_s + grace_s)
        if isinstance(self._result, BaseException):
            raise self._result
        return self._result

    def _run(self, source: Source, publisher: Publisher, poll_s: float) -> None:
        try:
            self._result = run_publisher(source, publisher, self._stop, drain_s=self._drain_s, poll_s=poll_s)
        except BaseException as error:
            self._result = error


class _Loop:
    def __init__(
        self,
        source: Source,
        publisher: Publisher,
        stop: threading.Event,
        drain_s: float,
        while_it_moves: bool,
        poll_s: float,
        max_pause_s: float,
        clock: Callable[[], float],
        sleep: Callable[[float], object],
    ) -> None:
        self._source, self._publisher, self._stop = source, publisher, stop
        self._drain_s, self._while_it_moves = drain_s, while_it_moves
        self._poll_s, self._max_pause_s = poll_s, max_pause_s
        self._clock, self._sleep = clock, sleep
        self._deadline: float | None = None
        self._state: PublishingState | None = None
        self._runs: StudyRuns | None = None
        self._num_failures: Counter[str] = Counter()
        self._pause_s = poll_s

    def run(self) -> PublishingState:
        while True:
            reason = ""
            try:
                num_pulled = self._publish_batch()
            # A refusal that comes here concerns the study (its experiment was deleted, say): a person can mend that.
            except (TrackerUnavailable, PublicationRefused) as error:
                num_pulled, reason = -1, str(error)
            if num_pulled == 0:
                self._report(PublishingState.CURRENT, "")
                if self._stop.is_set():
                    return PublishingState.CURRENT
                self._stop.wait(self._poll_s)
            elif self._is_overdue():
                self._report(PublishingState.BEHIND, reason or "stopped before all was published")
                return PublishingState.BEHIND
            elif reason:
                self._report(PublishingState.BEHIND, reason)
                self._pause()

    def _publish_batch(self) -> int:
        self._open()
        batch = self._source.next_batch()
        # What failed before goes last, so that one publication on which the tracker chokes does not hold up the rest.
        for publication in sorted(batch, key=lambda publication: self._num_failures[publication.key]):
            if self._is_overdue():
                break
            self._publish(publication)
            self._pause_s = self._poll_s
            if self._while_it_moves:
                self._deadline = None
        return len(batch)

    def _open(self) -> None:
        if self._runs is None:
            study = self._source.study()
            self._runs = _with_retries(partial(self._publisher.ensure_study, study))
            self._source.opened(self._runs)

    def _publish(self, publication: TrialPublication | ParentPublication) -> None:
        try:
            if isinstance(publication, TrialPublication):
                acknowledgement = _with_retries(partial(self._publisher.publish_trial, publication))
            else:
                acknowledgement = _with_retries(partial(self._publisher.publish_parent, publication))
        except PublicationRefused as error:
            if self._publisher.is_wiped():
                self._runs = None  # opened anew, and all that was acknowledged is void
                raise TrackerUnavailable("what the tracker held of the study is gone; it is published again") from error
            self._source.refuse(publication.key, str(error))
        except TrackerUnavailable:
            self._num_failures[publication.key] += 1
            raise
        else:
            self._source.acknowledge(acknowledgement)

    def _is_overdue(self) -> bool:
        if self._deadline is None and self._stop.is_set():
            self._deadline = self._clock() + self._drain_s
        return self._deadline is not None and self._clock() >= self._deadline

    def _pause(self) -> None:
        if not self._stop.is_set() or self._deadline is None:
            self._stop.wait(self._pause_s)
        else:
            self._sleep(max(0.0, min(self._pause_s, self._deadline - self._clock())))
        self._pause_s = min(2 * self._pause_s, self._max_pause_s)

    def _report(self, state: PublishingState, reason: str) -> None:
        if state is not self._state:
            self._state = state
            self._source.report(state, reason)


def _with_retries(call: Callable[[], T]) -> T:
    for attempt in stamina.retry_context(
        on=TrackerUnavailable, attempts=3, timeout=None, wait_initial=0.05, wait_max=0.5, wait_jitter=0.05
    ):
        with attempt:
            return call()
    raise AssertionError("stamina either returns or raises")
