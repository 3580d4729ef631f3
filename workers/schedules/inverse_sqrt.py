"""The inverse square root of the updates made (arXiv 1706.03762, eq. 3, behind its warmup)."""

from typing import Any

from schemas.decays import InverseSqrtDecay
from workers.schedules.progress import Progress


def decay(spec: InverseSqrtDecay, at: Progress) -> Any:
    """sqrt(s / (s + t)): with s the warmup's length W, sqrt(W / (k + 1))."""
    scale = at.peak if spec.timescale_steps is None else float(spec.timescale_steps)
    return at.xp.sqrt(scale / (scale + at.since_peak))
