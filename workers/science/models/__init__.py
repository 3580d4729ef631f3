"""Networks: one file each, stateless, in plain torch operations that vmap."""

from collections.abc import Callable, Mapping
from typing import Any

from workers.science.models.gpt import GPT
from workers.science.models.mlp import MLP
from workers.science.models.resnet import ResNet
from workers.science.models.vit import ViT
from workers.science.protocols import Model

BUILDERS: Mapping[str, Callable[[Any, tuple[int, ...], int], Model]] = {
    "gpt": GPT,
    "mlp": MLP,
    "resnet": ResNet,
    "vit": ViT,
}
"""kind -> builder from its spec, the shape of an example and the number of classes."""
