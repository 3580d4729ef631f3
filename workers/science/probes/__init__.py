"""What is measured while training, one kind per file."""

from collections.abc import Callable, Mapping
from typing import Any

from workers.science.probes.secant_smoothness import SecantSmoothnessProbe
from workers.science.probes.sharpness import SharpnessProbe
from workers.science.protocols import Probe

BUILDERS: Mapping[str, Callable[[Any], Probe]] = {
    "secant_smoothness": SecantSmoothnessProbe,
    "sharpness": SharpnessProbe,
}
"""kind -> builder from its spec (schemas.probes)."""
