"""What a few measured steps say of the cost of a whole pack. How they are measured is the cluster's."""

from dataclasses import asdict, dataclass
from typing import Any

SPREAD = (0.8, 1.25)
"""What a short measurement is trusted to: packs side by side are slower, warm ones faster."""


@dataclass(frozen=True)
class Calibration:
    """The cost of one kind of pack, at the planned size, on one device class."""

    group_key: str
    size: int
    start_s: float
    """Building the pack, and its evaluation at the end."""
    step_s: tuple[float, float]
    """A step without probes, evaluations in their share: the fastest and the slowest stretch."""
    gradient_s: float | None
    """One gradient equivalent of its probes, for the whole pack; None: no probe was measured."""
    times_faster: float | None = None
    """A trial's step in the pack against one alone, where the pack size is a default for models of one's own; None
    elsewhere.
    """

    def seconds(self, total_steps: int, load: float, probe_price: tuple[float, float]) -> tuple[float, float]:
        """Lower and upper seconds of a pack.

        Args:
            load: gradient equivalents per step and trial, the update's own included.
            probe_price: of a probe's gradient equivalent over a training one, where none was measured.
        """
        low, high = self.step_s
        measured = self.gradient_s
        probes = (low * probe_price[0], high * probe_price[1]) if measured is None else (measured, measured)
        bounds = (step + (load - 1.0) * probe for step, probe in zip((low, high), probes, strict=True))
        first, last = (self.start_s + total_steps * bound for bound in bounds)
        return first * SPREAD[0], last * SPREAD[1]

    def to_json(self) -> dict[str, Any]:
        """JSON types alone."""
        return asdict(self)

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> "Calibration":
        """What `to_json` gave."""
        return cls(**{**said, "step_s": (float(said["step_s"][0]), float(said["step_s"][1]))})
