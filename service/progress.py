"""How far a study is: a fold over its events, from which a display takes counts and an ETA."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from workers.ledger.rows import EventKind, EventRow

SPEED_WINDOW_S = 1.0
"""No speed is told from less."""
STALL_S = 5.0
"""Steps come in lumps, a turn at a time: so long without any is no slowing down."""
SMOOTH_S = 10.0
"""How fast the end that is told follows the speed so far; faster towards the end."""


@dataclass
class Progress:
    """Counts of one study. `pack_steps` and `pack_trials` are filled in by the reader, once the plan is known."""

    total: int
    done: int = 0
    diverged: int = 0
    stalled: int = 0
    errored: int = 0
    cancelled: int = 0
    reused: int = 0
    state: str = "queued"
    reason: str = ""
    publishing: str = ""
    published: int = 0
    """Runs that the tracker holds whole; the reader counts them."""
    last_seq: int = 0
    num_plans: int = 0
    """Raised whenever the study's packs have changed."""
    pack_steps: Mapping[str, int] = field(default_factory=dict)
    pack_trials: Mapping[str, int] = field(default_factory=dict)
    running: set[str] = field(default_factory=set)
    """Packs that train now."""
    notices: list[str] = field(default_factory=list)
    """What a person should hear of, in order; the reader clears it."""
    _steps: dict[str, int] = field(default_factory=dict)
    """Pack -> steps whose records are durable."""
    _ended: set[str] = field(default_factory=set)
    _first: tuple[float, int] | None = None
    """When the first steps of this command's time were seen, and how many there were."""
    _moved: tuple[float, int] = (0.0, 0)
    """When the newest steps were seen, and how many there are."""
    _end: tuple[float, float] | None = None
    """When the time left was last told, and the end that was told, both on the caller's clock."""

    @property
    def is_planned(self) -> bool:
        """Whether the plan is known: before it, workers are still starting."""
        return self.num_plans > 0

    @property
    def is_final(self) -> bool:
        """Whether the study has come to an end."""
        return self.state in ("done", "cancelled", "errored")

    @property
    def num_final(self) -> int:
        """Trials that have come to an end."""
        return self.done + self.errored + self.cancelled

    @property
    def trials_running(self) -> int:
        """Trials of the packs that train now."""
        return sum(self.pack_trials.get(pack_id, 0) for pack_id in self.running)

    @property
    def steps_made(self) -> int:
        """Durable pack steps; a pack that has ended counts whole, since it may end before its budget."""
        return sum(
            self.pack_steps.get(pack_id, 0) if pack_id in self._ended else steps
            for pack_id, steps in self._steps.items()
        )

    @property
    def fraction(self) -> float:
        """Share of all pack steps that are made; 0 before the plan is known."""
        total = sum(self.pack_steps.values())
        return min(1.0, self.steps_made / total) if total else 0.0

    def eta_s(self, now_s: float) -> float | None:
        """Seconds to the last step at the mean speed since the first steps; None while nothing can be said.

        Between lumps of steps it counts down, and it moves gently from one estimate to the next.
        """
        made = self.steps_made
        if self._first is None or made < self._first[1]:
            self._first, self._moved, self._end = (now_s, made) if self.running else None, (now_s, made), None
            return None
        if made != self._moved[1]:
            self._moved = (now_s, made)
        at, before = self._first
        until = max(self._moved[0], now_s - STALL_S)
        if made <= before or until - at < SPEED_WINDOW_S:
            return None
        end_s = until + max(0, sum(self.pack_steps.values()) - made) * (until - at) / (made - before)
        if self._end is not None:
            told_at, told = self._end
            pace_s = min(SMOOTH_S, max(SPEED_WINDOW_S, (told - now_s) / 3))
            end_s = told + (end_s - told) * (1.0 - math.exp((told_at - now_s) / pace_s))
        self._end = (now_s, end_s)
        return max(0.0, end_s - now_s)

    def take(self, events: Iterable[EventRow]) -> None:
        """Fold events in, in order; one that was taken already is ignored."""
        for event in events:
            if event.seq > self.last_seq:
                self.last_seq = event.seq
                self._take_one(event)

    def _take_one(self, event: EventRow) -> None:
        kind, payload = event.kind, event.payload
        if kind in _STATES:
            self.state, self.reason = _STATES[kind], payload.get("reason", "")
        if kind in _PLANS:
            self.num_plans += 1
        if kind is EventKind.PACK_REPLANNED:
            self.running.discard(payload["pack_id"])
            self._steps.pop(payload["pack_id"], None)
            into = len(payload["into"])
            self.notices.append(f"pack {payload['pack_id']} goes on in {into} packs: {payload.get('reason', '')}")
        elif kind in _OF_PACKS:
            self._take_pack(kind, payload)
        elif kind is EventKind.TRIAL_DONE:
            self.done += 1
            self.diverged += payload.get("outcome") == "diverged"
            self.stalled += payload.get("outcome") == "stalled"
            self.reused += "reused_from" in payload
        elif kind is EventKind.TRIAL_ERRORED:
            self.errored += 1
        elif kind is EventKind.TRIALS_CANCELLED:
            self.cancelled += payload["num_trials"]
            self.running.clear()
        elif kind is EventKind.STUDY_CONTINUED:
            self.errored = self.cancelled = 0
        elif kind is EventKind.PUBLISHING:
            self.publishing = payload["publishing"]

    def _take_pack(self, kind: EventKind, payload: Mapping[str, object]) -> None:
        pack_id = str(payload["pack_id"])
        if kind is EventKind.PACK_STARTED or kind is EventKind.PACK_PROGRESS:
            self.running.add(pack_id)
            self._ended.discard(pack_id)
            self._steps[pack_id] = int(str(payload["step"]))
            return
        self.running.discard(pack_id)
        if kind is EventKind.PACK_DONE or kind is EventKind.PACK_ERRORED:
            self._ended.add(pack_id)
            self._steps.setdefault(pack_id, 0)
        if kind is EventKind.PACK_ERRORED:
            self.notices.append(f"pack {pack_id} errored: {payload.get('reason', '')}")
        elif kind is EventKind.PACK_REQUEUED:
            self.notices.append(f"pack {pack_id} will go on: {payload.get('reason', '')}")


_STATES = {
    EventKind.STUDY_QUEUED: "queued",
    EventKind.STUDY_RUNNING: "running",
    EventKind.STUDY_DONE: "done",
    EventKind.STUDY_CANCELLED: "cancelled",
    EventKind.STUDY_ERRORED: "errored",
    EventKind.STUDY_CONTINUED: "queued",
}
_OF_PACKS = {
    EventKind.PACK_STARTED,
    EventKind.PACK_PROGRESS,
    EventKind.PACK_DONE,
    EventKind.PACK_ERRORED,
    EventKind.PACK_REQUEUED,
}
_PLANS = {EventKind.PLAN_WRITTEN, EventKind.PACK_REPLANNED}
