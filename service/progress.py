"""How far a study is: a fold over its events, from which a display takes counts and an ETA."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from workers.ledger.rows import EventKind, EventRow


@dataclass
class Progress:
    """Counts of one study. `pack_steps` says how long each pack is, once the plan is known."""

    total: int
    done: int = 0
    diverged: int = 0
    stalled: int = 0
    errored: int = 0
    cancelled: int = 0
    state: str = "queued"
    reason: str = ""
    publishing: str = ""
    last_seq: int = 0
    pack_steps: Mapping[str, int] = field(default_factory=dict)
    pack_trials: Mapping[str, int] = field(default_factory=dict)
    running: dict[str, int] = field(default_factory=dict)
    """Pack -> steps made, of those that train now."""
    notices: list[str] = field(default_factory=list)
    """What a person should hear of, in order; the reader clears it."""
    _steps_done: int = 0
    _first: tuple[float, int] | None = None

    @property
    def trials_running(self) -> int:
        """Trials of the packs that train now."""
        return sum(self.pack_trials.get(pack_id, 0) for pack_id in self.running)

    @property
    def fraction(self) -> float:
        """Share of all pack steps that are made; 0 before the plan is known."""
        total = sum(self.pack_steps.values())
        return min(1.0, (self._steps_done + sum(self.running.values())) / total) if total else 0.0

    def eta_s(self, now_s: float) -> float | None:
        """Seconds to the last step at the mean speed so far; None while nothing can be said."""
        made = self._steps_done + sum(self.running.values())
        if self._first is None:
            if made:
                self._first = (now_s, made)
            return None
        at, before = self._first
        if made <= before or now_s - at < 1.0:
            return None
        return (sum(self.pack_steps.values()) - made) * (now_s - at) / (made - before)

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
        if kind is EventKind.PACK_STARTED or kind is EventKind.PACK_PROGRESS:
            self.running[payload["pack_id"]] = payload["step"]
        elif kind is EventKind.PACK_DONE:
            self._end_pack(payload["pack_id"])
        elif kind is EventKind.PACK_ERRORED:
            self._end_pack(payload["pack_id"])
            self.notices.append(f"pack {payload['pack_id']} errored: {payload.get('reason', '')}")
        elif kind is EventKind.PACK_REQUEUED:
            self.running.pop(payload["pack_id"], None)
            self.notices.append(f"pack {payload['pack_id']} will run again: {payload.get('reason', '')}")
        elif kind is EventKind.TRIAL_DONE:
            self.done += 1
            self.diverged += payload.get("outcome") == "diverged"
            self.stalled += payload.get("outcome") == "stalled"
        elif kind is EventKind.TRIAL_ERRORED:
            self.errored += 1
        elif kind is EventKind.TRIALS_CANCELLED:
            self.cancelled += payload["num_trials"]
        elif kind is EventKind.STUDY_CONTINUED:
            self.errored = self.cancelled = 0
        elif kind is EventKind.PUBLISHING:
            self.publishing = payload["publishing"]

    def _end_pack(self, pack_id: str) -> None:
        self.running.pop(pack_id, None)
        self._steps_done += self.pack_steps.get(pack_id, 0)


_STATES = {
    EventKind.STUDY_QUEUED: "queued",
    EventKind.STUDY_RUNNING: "running",
    EventKind.STUDY_DONE: "done",
    EventKind.STUDY_CANCELLED: "cancelled",
    EventKind.STUDY_ERRORED: "errored",
    EventKind.STUDY_CONTINUED: "queued",
}
