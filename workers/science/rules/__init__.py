"""Learning rates found from the loss while training, one kind per file."""

from collections.abc import Callable, Mapping
from typing import Any

from workers.science.protocols import ClosedLoopRule
from workers.science.rules.smoothness_law import SmoothnessLawRule

BUILDERS: Mapping[str, Callable[[Any], ClosedLoopRule]] = {"smoothness_law": SmoothnessLawRule}
"""kind -> builder from its spec (schemas.schedules)."""
