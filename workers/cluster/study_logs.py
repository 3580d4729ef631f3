"""A driver's log, and those of packs that failed, in the records' place: the driver's own disk goes with its node."""

import logging
import threading
from collections import deque

from schemas.errors import PlaceError
from workers.records.places import Place

log = logging.getLogger("warmup_bench.driver")

FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
EVERY_S = 10.0
MOST_BYTES = 1_000_000
"""The end of a log that is kept; an object store takes whole objects only."""


class LogTail(logging.Handler):
    """The last megabyte of what this process logs."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter(FORMAT))
        self._most_bytes, self._num_bytes = most_bytes, 0
        self._lines: deque[bytes] = deque()
        self.num_lines = 0
        """Ever logged."""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one more, and forget the oldest that are too many."""
        line = f"{self.format(record)}\n".encode(errors="replace")[-self._most_bytes :]
        self._lines.append(line)
        self._num_bytes += len(line)
        self.num_lines += 1
        while self._num_bytes > self._most_bytes:
            self._num_bytes -= len(self._lines.popleft())

    def text(self) -> bytes:
        """What is kept."""
        with self.lock or threading.RLock():
            return b"".join(self._lines)


class StudyLogs:
    """`logs/STUDY/driver-aN.log` every ten seconds in which it has grown, `logs/STUDY/PACK-aN.log` of failed packs.

    N is the attempt: of the study's drivers, or of the pack. What cannot be written is only a log: nothing fails by it.
    """

    def __init__(self, place: Place, study_id: str, fence: int, tail: LogTail) -> None:
        self._place, self._tail = place, tail
        self._folder, self._name = f"logs/{study_id}", f"logs/{study_id}/driver-a{fence}.log"
        self._num_put = 0
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._live, name="logs", daemon=True)

    def __enter__(self) -> "StudyLogs":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._is_over.set()
        self._thread.join()
        self.put()

    def put(self) -> None:
        """Put the driver's log there, if it has grown."""
        num_lines = self._tail.num_lines
        if num_lines > self._num_put and self._put(self._name, self._tail.text()):
            self._num_put = num_lines

    def put_pack(self, pack_id: str, attempt: int, text: str) -> None:
        """Put there why an attempt at a pack failed."""
        self._put(f"{self._folder}/{pack_id}-a{attempt}.log", text.encode(errors="replace")[-MOST_BYTES:])

    def _put(self, name: str, data: bytes) -> bool:
        try:
            self._place.put(name, data)
        except PlaceError as error:
            logging.getLogger("warmup_bench.logs").debug("%s", error)  # at this level, as it would grow by itself
            return False
        return True

    def _live(self) -> None:
        while not self._is_over.wait(EVERY_S):
            self.put()
