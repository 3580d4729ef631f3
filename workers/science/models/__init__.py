"""Networks: one file each, stateless, in plain torch operations that vmap."""

from collections.abc import Callable, Mapping
from typing import Any

from workers.science.models.gpt import GPT
from workers.science.models.mlp import MLP
from workers.science.protocols import Model

BUILDERS: Mapping[str, Callable[[Any, tuple[int, ...], int], Model]] = {"gpt": GPT, "mlp": MLP}
"""kind -> builder from its spec, the shape of an example and the number of classes."""
