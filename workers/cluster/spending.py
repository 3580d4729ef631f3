"""What a study has used of its `budget`, and whether another pack may begin."""

import time
from collections.abc import Callable, Iterable, Sequence

from schemas.study_budget import BUDGET_USED_UP, StudyBudget
from workers.cluster.replanning import REPLACES
from workers.ledger.rows import EventKind, EventRow, PackRow

_ENDS = (EventKind.PACK_DONE, EventKind.PACK_ERRORED, EventKind.PACK_REQUEUED, EventKind.PACK_REPLANNED)


class Spending:
    """Packs that have begun count in full, whether or not they are done: so what is trained hangs on the plan alone,
    not on how many trainers there are or who is faster. Hours are those in which at least one pack trained.
    """

    def __init__(
        self,
        budget: StudyBudget | None,
        packs: Sequence[PackRow] = (),
        events: Iterable[EventRow] = (),
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`packs`, `events`: all of the study so far; events are read only where hours are counted."""
        self._budget = budget
        self._gradients = sum(gradients_of(pack) for pack in packs if pack.attempt > 0 and not _is_begun_before(pack))
        self._seconds_before = trained_seconds(events) if budget is not None and budget.hours is not None else 0.0
        self._clock, self._began = clock, clock()

    def begin(self, pack: PackRow) -> None:
        """A pack begins, or goes on."""
        if pack.attempt == 0 and not _is_begun_before(pack):
            self._gradients += gradients_of(pack)

    def may_begin(self, pack: PackRow) -> bool:
        """Whether a trainer may take this pack now: one that has begun is finished."""
        return pack.attempt > 0 or _is_begun_before(pack) or not self.used_up

    @property
    def used_up(self) -> str:
        """Why no pack may begin any more; empty while one may."""
        if self._budget is None:
            return ""
        hours = (self._seconds_before + self._clock() - self._began) / 3600
        if self._budget.hours is not None and hours >= self._budget.hours:
            return f"{BUDGET_USED_UP}: {hours:.3g} of {self._budget.hours:g} hours"
        if self._budget.gradients is not None and self._gradients >= self._budget.gradients:
            return f"{BUDGET_USED_UP}: {self._gradients:,.0f} of {self._budget.gradients:,.0f} gradients"
        return ""


def _is_begun_before(pack: PackRow) -> bool:
    """Whether it goes on with what another pack has begun, in whose place it is."""
    return REPLACES in pack.plan


def gradients_of(pack: PackRow) -> float:
    """Gradient equivalents that a pack costs at most, its probes' included (one HVP is two), as it was planned."""
    return float(pack.plan.get("gradients_per_step", 1.0)) * int(pack.plan["total_steps"]) * len(pack.members)


def trained_seconds(events: Iterable[EventRow]) -> float:
    """Seconds in which at least one pack trained, as far as its events tell: of a driver that was killed, up to the
    last that it said."""
    running: set[str] = set()
    seconds, last = 0.0, None
    for event in events:
        if event.kind is not EventKind.PACK_STARTED and event.kind not in (*_ENDS, EventKind.PACK_PROGRESS):
            continue
        # When it was queued again says nothing of how long it had trained before.
        if running and last is not None and event.kind is not EventKind.PACK_REQUEUED:
            seconds += (event.at - last).total_seconds()
        last = event.at
        if event.kind is EventKind.PACK_STARTED:
            running.add(event.payload["pack_id"])
        elif event.kind in _ENDS:
            running.discard(event.payload["pack_id"])
    return seconds
