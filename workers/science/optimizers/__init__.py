"""Update rules over the flat matrix of a pack: one file each, equal to torch.optim's of the same name."""

from collections.abc import Callable, Mapping

from workers.science.optimizers.adam import Adam, AdamW
from workers.science.optimizers.hyperparameters import PackHyperparameters
from workers.science.optimizers.sgd import SGD
from workers.science.protocols import Optimizer

BUILDERS: Mapping[str, Callable[[PackHyperparameters], Optimizer]] = {"sgd": SGD, "adam": Adam, "adamw": AdamW}
"""kind -> builder from the hyperparameters of a pack."""

__all__ = ["BUILDERS", "PackHyperparameters"]
