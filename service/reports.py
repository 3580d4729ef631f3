"""The reports that the service hands out: those that drivers wrote, and others written when they are asked for.

One at a time is written, once however many ask, and kept under the version of its study.
"""

import asyncio
import contextlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import structlog

from service.codes import Code
from service.errors import ApiProblem
from service.report_writer import FILES, WRITE_S, ReportFailed, ReportWriter, make_room
from workers.ledger.rows import StudyHead
from workers.places import Places
from workers.results.report_version import marked_version, report_version

WAIT_S = 55.0
"""So long a request waits for a report; the writing goes on."""
RETRY_S = 10
FRESH_S = 10.0
"""A report of a study that runs is handed out again for so long at least,"""
FRESH_RUNS = 5.0
"""and for so many times what it took to write: reports of one running study take a sixth of a core at most."""
FAILED_S = 30.0
"""A report that could not be written is not tried again for so long."""
MAX_WAITING = 16
"""Studies whose reports are being written or wait for it."""
MAX_BYTES = 1_000_000_000
"""Of all reports that are kept."""
MAX_ATTEMPTS = 1_000

log = structlog.get_logger("warmup_bench.reports")


@dataclass(frozen=True)
class Report:
    """A report in a folder, as of a version of its study."""

    version: str
    folder: Path


@dataclass(frozen=True)
class _Attempt:
    """How the last writing of a study's report went. `seconds`: None where it failed."""

    version: str
    ended_at: float
    seconds: float | None


class Reports:
    """The reports of one process. Several may share a home: what one has written, the others hand out."""

    def __init__(self, places: Places, ledger_url: str, *, write_s: float = WRITE_S, wait_s: float = WAIT_S) -> None:
        """Touches nothing yet. Reports that are written here are kept in HOME/cache/reports."""
        self._places, self._wait_s = places, wait_s
        self._kept = places.home / "cache" / "reports"
        self._writer = ReportWriter(ledger_url, places.records, write_s=write_s)
        self._one_at_a_time = ThreadPoolExecutor(1, thread_name_prefix="report")
        self._writing: dict[str, tuple[str, asyncio.Task[None]]] = {}
        self._attempts: dict[str, _Attempt] = {}

    async def get(self, study: StudyHead) -> Report:
        """The report of a study as it stands now; of one that is not final it may be a little older.

        Raises:
            ApiProblem: 503, it is still being written, or too many are; 500, it could not be written.
        """
        version = report_version(study)
        while True:
            found = self._finished(study, version) or self._stored(study, version)
            if found is not None:
                return found
            self._refuse_after_failure(study.id)
            await self._one_more_written(study.id, version)

    async def close(self) -> None:
        """End what is being written."""
        self._one_at_a_time.shutdown(wait=False, cancel_futures=True)
        self._writer.stop()
        await asyncio.gather(*(task for _, task in self._writing.values()), return_exceptions=True)

    def _finished(self, study: StudyHead, version: str) -> Report | None:
        """What the driver wrote when the study had ended."""
        folder = self._places.study_folder(study.id)
        if study.finished_at is None or marked_version(folder) != version:
            return None
        return Report(version, folder) if all((folder / name).is_file() for name in FILES) else None

    def _stored(self, study: StudyHead, version: str) -> Report | None:
        for one in [version, *self._still_fresh(study)]:
            folder = self._kept / study.id / one
            with contextlib.suppress(OSError):
                os.utime(folder)  # the time at which it was last asked for
                return Report(one, folder)
        return None

    def _still_fresh(self, study: StudyHead) -> list[str]:
        last = self._attempts.get(study.id)
        if last is None or last.seconds is None or study.finished_at is not None:
            return []
        age_s = time.monotonic() - last.ended_at
        return [last.version] if age_s < max(FRESH_S, FRESH_RUNS * last.seconds) else []

    def _refuse_after_failure(self, study_id: str) -> None:
        last = self._attempts.get(study_id)
        if last is not None and last.seconds is None and time.monotonic() - last.ended_at < FAILED_S:
            raise ApiProblem(Code.REPORT_FAILED, "the operator of this service finds why in its log, by the study's id")

    async def _one_more_written(self, study_id: str, version: str) -> None:
        """Wait until the report that is being written is, which may be one of an older version."""
        if study_id not in self._writing:
            if len(self._writing) >= MAX_WAITING:
                raise _busy("many reports are being written")
            task = asyncio.get_running_loop().create_task(self._write(study_id, version))
            self._writing[study_id] = (version, task)
        _, task = self._writing[study_id]
        await asyncio.wait([task], timeout=self._wait_s)
        if not task.done():
            raise _busy("the report is being written")

    async def _write(self, study_id: str, version: str) -> None:
        seconds = None
        try:
            loop = asyncio.get_running_loop()
            seconds = await loop.run_in_executor(self._one_at_a_time, self._writer.write, study_id, self._kept, version)
            await loop.run_in_executor(
                self._one_at_a_time, lambda: make_room(self._kept, MAX_BYTES, keep=self._kept / study_id / version)
            )
        except (ReportFailed, RuntimeError) as error:  # RuntimeError: the executor is closed
            log.error("report not written", study_id=study_id, error=str(error))
        finally:
            del self._writing[study_id]
            self._attempts.pop(study_id, None)
            if len(self._attempts) >= MAX_ATTEMPTS:
                del self._attempts[next(iter(self._attempts))]
            self._attempts[study_id] = _Attempt(version, time.monotonic(), seconds)


def _busy(why: str) -> ApiProblem:
    return ApiProblem(Code.REPORT_BUSY, f"{why}; come again in {RETRY_S} s", headers={"Retry-After": str(RETRY_S)})
