"""Removes from the records what a committed manifest no longer names; what cannot be removed now is only room lost."""

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from schemas.errors import PlaceError
from workers.cluster.orders import Progress
from workers.ledger.rows import PackRow
from workers.records import CheckpointRef, RecordStore, SegmentRef

log = logging.getLogger("warmup_bench.driver")


class Tidying:
    """Deletes what is replaced once it is committed; where the ledger is copied, once that is in a copy.

    Who continues from a copy must find all that it names.
    """

    def __init__(self, store: RecordStore, copy: Callable[[], None] | None = None) -> None:
        """`copy`: copies the ledger."""
        self._store, self._copy = store, copy
        self._waiting: list[Callable[[], None]] = []

    def after_progress(self, progress: Progress) -> None:
        """As the function of that name."""
        self._later(partial(after_progress, self._store, progress))

    def after_the_end(self, progress: Progress) -> None:
        """As the function of that name."""
        self._later(partial(after_the_end, self._store, progress))

    def after_replanning(self, pack: PackRow) -> None:
        """As the function of that name."""
        self._later(partial(after_replanning, self._store, pack))

    def after_others(self, done: Iterable[PackRow], fence: int) -> None:
        """As the function of that name."""
        self._later(partial(after_others, self._store, list(done), fence))
        self.flush()

    def flush(self) -> None:
        """Copy the ledger, if there is anything new in it that has to be, and delete what waits for that.

        Raises:
            StaleFence: another job has the newer copy.
        """
        if not self._waiting or self._copy is None:
            return
        try:
            self._copy()
        except PlaceError as error:
            log.warning("the ledger is not copied now, but with the next checkpoint: %s", error)
            return
        for delete in self._waiting:
            delete()
        self._waiting.clear()

    def _later(self, delete: Callable[[], None]) -> None:
        if self._copy is None:
            delete()
        else:
            self._waiting.append(delete)


def after_progress(store: RecordStore, progress: Progress) -> None:
    """Delete the segments and checkpoints that this progress, once committed, has replaced."""
    checkpoints = [CheckpointRef(**row) for row in progress.replaced_checkpoints]
    with _leftovers_stay(progress.pack_id):
        store.delete([*segments(progress.replaced), *checkpoints])


def after_the_end(store: RecordStore, progress: Progress) -> None:
    """Delete what compaction replaced, and what earlier attempts and checkpoints of a finished pack left."""
    after_progress(store, progress)
    if progress.replaced or progress.checkpoint or progress.attempt > 1:
        with _leftovers_stay(progress.pack_id):
            store.sweep(progress.pack_id, segments(progress.manifest))


def after_replanning(store: RecordStore, pack: PackRow) -> None:
    """Delete all of a pack that others have replaced."""
    with _leftovers_stay(pack.pack_id):
        store.sweep(pack.pack_id, ())


def after_others(store: RecordStore, done: Iterable[PackRow], fence: int) -> None:
    """Sweep packs that were done under an earlier lease: a driver killed after the commit has not come to it."""
    for pack in done:
        if pack.fence < fence:
            with _leftovers_stay(pack.pack_id):
                store.sweep(pack.pack_id, segments(pack.manifest))


def segments(rows: Iterable[dict[str, Any]]) -> tuple[SegmentRef, ...]:
    """The segments of a manifest."""
    return tuple(SegmentRef(**row) for row in rows)


@contextlib.contextmanager
def _leftovers_stay(pack_id: str) -> Iterator[None]:
    try:
        yield
    except PlaceError as error:
        log.warning("pack %s: leftovers stay: %s", pack_id, error)
