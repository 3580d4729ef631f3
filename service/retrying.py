"""How often, and after which waits, a study is launched again whose driver ended before the study did. Pure."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Patience:
    """Limits and times (s)."""

    max_failures: int = 3
    """So many launches that the study itself has ended are enough: the next would end alike."""
    max_faults: int = 12
    """So many launches that this machine has ended are enough: with the waits, 19 minutes."""
    backoff_s: float = 1.0
    """Before the second launch; doubled for each one after it."""
    max_backoff_s: float = 300.0


@dataclass
class Trouble:
    """A study's launches in a row that have not brought it further."""

    failures: int = 0
    """Its own: the driver said that it cannot go on."""
    faults: int = 0
    """The machine's: the driver was killed, its Ray was lost, it could not be started."""
    places: int = 0
    """Those for which a place, or the cluster, could not be used: the study waits until it can."""
    not_before: float = 0.0

    @property
    def launches(self) -> int:
        """All of them."""
        return self.failures + self.faults + self.places


class Troubles:
    """Of all studies that one controller launches."""

    def __init__(self, patience: Patience, clock: Callable[[], float]) -> None:
        self._patience, self._clock = patience, clock
        self._of: dict[str, Trouble] = {}

    def note(self, study_id: str, *, is_fault: bool, has_progressed: bool, is_place: bool = False) -> Trouble:
        """Another launch of it has ended too early. One that brought the study further is the first of a new row."""
        if has_progressed:
            self._of.pop(study_id, None)
        trouble = self._of.setdefault(study_id, Trouble())
        if is_place:
            trouble.places += 1
        elif is_fault:
            trouble.faults += 1
        else:
            trouble.failures += 1
        trouble.not_before = self._clock() + self.wait_s(trouble)
        return trouble

    def postpone(self, study_id: str, wait_s: float) -> None:
        """It could not be launched, by nobody's fault: that counts for nothing, and others have their turn."""
        self._of.setdefault(study_id, Trouble()).not_before = self._clock() + wait_s

    def wait_s(self, trouble: Trouble) -> float:
        """Seconds between its last launch's end and the next."""
        patience = self._patience
        # Bounded before it is raised: a power of two may be too large for a float.
        return float(min(patience.max_backoff_s, patience.backoff_s * 2 ** min(trouble.launches - 1, 60)))

    def is_hopeless(self, trouble: Trouble) -> bool:
        """Whether it has been tried often enough."""
        return trouble.failures >= self._patience.max_failures or trouble.faults >= self._patience.max_faults

    def forget(self, study_id: str) -> None:
        """It has ended, or somebody else minds it."""
        self._of.pop(study_id, None)

    def waiting(self) -> list[str]:
        """Studies that are not to be launched yet."""
        now = self._clock()
        return [study_id for study_id, trouble in self._of.items() if trouble.not_before > now]
