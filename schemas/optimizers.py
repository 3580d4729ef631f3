"""The update rules, one class per kind, equal to torch.optim's of the same name."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from schemas.base import Name, NonNegativeFloat, PositiveFloat, Spec
from schemas.learning_rates import PeakLRs

Beta = Annotated[float, Field(ge=0, lt=1)]


class _Optimizer(Spec):
    name: Name | None = None
    weight_decay: NonNegativeFloat = 0.0
    decay_on: Literal["all", "matrices"] = "all"
    couple_to_lr: bool = True
    peak_lrs: PeakLRs | None = None

    STACKED: ClassVar[tuple[str, ...]] = ()
    """Fields that may differ inside a pack: the others decide which pack a trial belongs to."""


class SGD(_Optimizer):
    """w <- w - lr m, m <- momentum m + g + weight_decay w (torch.optim.SGD, dampening 0)."""

    kind: Literal["sgd"]
    momentum: Beta = 0.0

    STACKED = ("momentum", "weight_decay")


class Adam(_Optimizer):
    """Adam with L2 regularisation inside the gradient (torch.optim.Adam; arXiv 1412.6980)."""

    kind: Literal["adam"]
    betas: Annotated[tuple[Beta, Beta], Field(strict=False)] = (0.9, 0.999)
    eps: PositiveFloat = 1e-8

    STACKED = ("betas", "eps", "weight_decay")


class AdamW(_Optimizer):
    """Adam with decoupled weight decay (torch.optim.AdamW; arXiv 1711.05101)."""

    kind: Literal["adamw"]
    betas: Annotated[tuple[Beta, Beta], Field(strict=False)] = (0.9, 0.999)
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.01

    STACKED = ("betas", "eps", "weight_decay")


Optimizer = Annotated[SGD | Adam | AdamW, Field(discriminator="kind")]
