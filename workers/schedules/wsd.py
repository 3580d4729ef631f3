"""Warmup, stable, decay: the peak is kept, then cooled down over the last updates (arXiv 2404.06395, 2405.18392)."""

from typing import Any

from schemas.decays import WSDDecay
from workers.schedules.progress import Progress


def decay(spec: WSDDecay, at: Progress) -> Any:
    """floor + (1 - floor) f, where f is 1 up to the cool-down."""
    assert spec.cooldown_steps is not None, "resolved"
    steps = spec.cooldown_steps + at.spare
    # updates into the cool-down: 0 at the last one before it
    inside = at.xp.clip(at.since_peak - (at.length - steps), 0.0, None)
    return spec.floor + (1.0 - spec.floor) * _fallen(spec, inside, max(steps, 1), at.xp)


def _fallen(spec: WSDDecay, inside: Any, steps: int, xp: Any) -> Any:
    if spec.cooldown == "exponential":
        assert spec.half_life_steps is not None
        return 0.5 ** (inside / spec.half_life_steps)
    if spec.cooldown == "one_minus_sqrt":
        return 1.0 - xp.sqrt(inside / steps)
    return 1.0 - inside / steps
