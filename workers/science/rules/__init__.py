"""Learning rates found from the loss while training, one kind per file."""

from collections.abc import Callable, Mapping
from typing import Any

from workers.science.protocols import ClosedLoopRule
from workers.science.rules.catapult_start import CatapultStartRule
from workers.science.rules.persistent_catapult import PersistentCatapultRule
from workers.science.rules.polyak import PolyakRule
from workers.science.rules.riabinin import RiabininRule
from workers.science.rules.smoothness_law import SmoothnessLawRule

BUILDERS: Mapping[str, Callable[[Any], ClosedLoopRule]] = {
    "smoothness_law": SmoothnessLawRule,
    "polyak": PolyakRule,
    "riabinin": RiabininRule,
    "catapult_start": CatapultStartRule,
    "persistent_catapult": PersistentCatapultRule,
}
"""kind -> builder from its spec (schemas.schedules)."""
