"""The same ratio from each update to the next, downwards."""

from typing import Any

from schemas.decays import ExponentialDecay
from workers.schedules.progress import Progress


def decay(spec: ExponentialDecay, at: Progress) -> Any:
    """gamma^t over the updates since the peak, or end_factor^u."""
    if spec.gamma is not None:
        return spec.gamma**at.since_peak
    assert spec.end_factor is not None
    return spec.end_factor**at.u
