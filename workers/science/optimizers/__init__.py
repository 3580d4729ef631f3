"""Update rules over the flat matrix of a pack: one file each, equal to torch.optim's of the same name."""

from workers.science.optimizers.adam import Adam, AdamW
from workers.science.optimizers.hyperparameters import PackHyperparameters
from workers.science.optimizers.sgd import SGD

BUILDERS = {"sgd": SGD, "adam": Adam, "adamw": AdamW}

__all__ = ["BUILDERS", "PackHyperparameters"]
