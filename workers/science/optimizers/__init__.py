"""Update rules over the flat matrix of a pack: one file each, equal to torch.optim's of the same name."""

from collections.abc import Callable, Mapping

from workers.science.optimizers.adam import Adam, AdamW
from workers.science.optimizers.adamw_w2 import AdamW2
from workers.science.optimizers.gi_adam import GIAdam
from workers.science.optimizers.hyperparameters import PackHyperparameters
from workers.science.optimizers.lion import Lion
from workers.science.optimizers.radam import RAdam
from workers.science.optimizers.schedule_free import ScheduleFreeAdamW
from workers.science.optimizers.sgd import SGD
from workers.science.optimizers.trust import LAMB, LARS
from workers.science.protocols import Optimizer

BUILDERS: Mapping[str, Callable[[PackHyperparameters], Optimizer]] = {
    "sgd": SGD,
    "adam": Adam,
    "adamw": AdamW,
    "gi_adam": GIAdam,
    "radam": RAdam,
    "lion": Lion,
    "adamw_w2": AdamW2,
    "lars": LARS,
    "lamb": LAMB,
    "schedule_free_adamw": ScheduleFreeAdamW,
}
"""kind -> builder from the hyperparameters of a pack."""

__all__ = ["BUILDERS", "PackHyperparameters"]
