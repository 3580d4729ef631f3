"""Where updates stand behind the peak: what every decay is a curve over."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Progress:
    """Arrays over updates in numpy, or tensors over the trials of a pack: `xp` is the module of either."""

    xp: Any
    since_peak: Any
    """Updates since the one at the peak, at least 0."""
    length: Any
    """Updates since the peak at which u would be 1."""
    peak: Any
    """Updates up to the peak: the warmup's length, at least `spare`."""
    spare: int
    """Updates after the last one at which u would be 1: 1 in ours, so that no update is wasted at rate 0."""

    @property
    def u(self) -> Any:
        """From 0 at the peak to below 1 at the last update."""
        return self.since_peak / self.length
