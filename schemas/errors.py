"""Everything that can go wrong on purpose, one tree with stable codes.

WarmupBenchError
├── SpecError            input refused: one Problem per line (exit 2)
├── DataMissing          a data set that no catalog row vouches for
├── FetchFailed          a data set that did not come, or is not what it should be
├── PlaceError           a folder or database that cannot be used, with what to set
│   ├── PlaceRefused     ... as it was asked for, found before anything is done there (exit 2)
│   └── PlaceAway        ... that does not answer now, and may later
├── StaleFence           a write by a driver that has been replaced
├── CorruptRecord        a segment whose bytes are not those of its manifest
├── WrongState           a move that the state does not allow
├── IdempotencyConflict  an idempotency key that came with another body before
├── QuotaExceeded        more than an owner may have waiting or running
├── KeyNotFound
└── StudyNotFound
"""

from dataclasses import dataclass
from typing import ClassVar


class WarmupBenchError(Exception):
    """The root: `code` is stable and may be relied on by programs."""

    code: ClassVar[str] = "error"


@dataclass(frozen=True)
class Problem:
    """One refused field: where it is, what stood there, what may stand there."""

    field: str
    got: str
    allowed: str

    def __str__(self) -> str:
        return f"{self.field}: got {self.got}, allowed {self.allowed}"


class SpecError(WarmupBenchError):
    """A spec that is refused, with every problem found at once."""

    code = "spec_refused"

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in problems))


class DataMissing(WarmupBenchError):
    """A data set that is not in the catalog; the message names the command that gets it."""

    code = "data_missing"


class FetchFailed(WarmupBenchError):
    """A data set that its home does not give, or gives otherwise than it should be: nothing of it is taken over."""

    code = "fetch_failed"


class PlaceError(WarmupBenchError):
    """A folder, file system or database that cannot be used as asked."""

    code = "place_unusable"


class PlaceRefused(PlaceError):
    """A place that a flag or a variable names and that cannot be what it is named for: nothing was done there yet."""

    code = "place_refused"


class PlaceAway(PlaceError):
    """A database that cannot be asked now and may be later: its server restarts, or another process holds its lock."""

    code = "place_away"


class StaleFence(WarmupBenchError):
    """A commit by an attempt that is no longer the study's newest."""

    code = "stale_fence"


class WrongState(WarmupBenchError):
    """A move that the present state of a study, a trial or a plan does not allow."""

    code = "wrong_state"


class CorruptRecord(WarmupBenchError):
    """A record segment that is missing or whose sha256 differs from its manifest's."""

    code = "corrupt_record"


class StudyNotFound(WarmupBenchError):
    """No study of that id, or prefix of an id, in this place."""

    code = "study_not_found"


class KeyNotFound(WarmupBenchError):
    """No API key of that id in this place."""

    code = "key_not_found"


class IdempotencyConflict(WarmupBenchError):
    """An idempotency key that its owner has used for another request."""

    code = "idempotency_key_reused"


class QuotaExceeded(WarmupBenchError):
    """One study more would exceed what its owner may have unfinished at a time."""

    code = "quota_exceeded"

    def __init__(self, quota: str, used: int, asked: int, allowed: int) -> None:
        self.quota = quota
        """`studies_queued`, `trials_unfinished` or `steps_unfinished`."""
        self.used = used
        self.asked = asked
        self.allowed = allowed
        super().__init__(
            f"{quota}: got {used} + {asked}, allowed {allowed}; "
            + (
                "wait until some of it is done, or cancel a study"
                if asked <= allowed
                else "split the study, or ask the operator for a larger quota"
            )
        )

    @property
    def can_ever_fit(self) -> bool:
        """Whether waiting helps: the study alone is within the quota."""
        return self.asked <= self.allowed
