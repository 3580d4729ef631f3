"""Everything that can go wrong on purpose, one tree with stable codes.

WarmupBenchError
├── SpecError            input refused: one Problem per line (exit 2)
├── DataMissing          a data set that no catalog row vouches for
├── PlaceError           a folder or database that cannot be used, with what to set
├── StaleFence           a write by a driver that has been replaced
├── CorruptRecord        a segment whose bytes are not those of its manifest
├── WrongState           a move that the state does not allow
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


class PlaceError(WarmupBenchError):
    """A folder, file system or database that cannot be used as asked."""

    code = "place_unusable"


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
