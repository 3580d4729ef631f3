"""The update rules, one class per kind, equal to torch.optim's of the same name where it has one."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from schemas.base import Name, NonNegativeFloat, PositiveFloat, Spec
from schemas.learning_rates import PeakLRs
from schemas.plugins import PluginOptimizer

Beta = Annotated[float, Field(ge=0, lt=1)]
Betas = Annotated[tuple[Beta, Beta], Field(strict=False)]
Layers = Literal["all", "matrices"]
"""`matrices`: tensors of two dimensions or more, so that biases and the gains of normalisations are left out."""


class _Optimizer(Spec):
    """`couple_to_lr: false`: the weights shrink by the share weight_decay at every update, whatever the rate."""

    name: Name | None = None
    weight_decay: NonNegativeFloat = 0.0
    decay_on: Layers = "all"
    couple_to_lr: bool = True
    peak_lrs: PeakLRs | None = None

    STACKED: ClassVar[tuple[str, ...]] = ()
    """Fields that may differ inside a pack: the others decide which pack a trial belongs to."""

    @field_validator("couple_to_lr")
    @classmethod
    def _leaves_weights(cls, value: bool, info: ValidationInfo) -> bool:
        if not value and info.data.get("weight_decay", 0.0) >= 1:
            raise ValueError("true, or a weight_decay below 1: by that share the weights shrink at every update")
        return value


class SGD(_Optimizer):
    """w <- w - lr m, m <- momentum m + g + weight_decay w (torch.optim.SGD, dampening 0).

    nesterov: w <- w - lr (g + weight_decay w + momentum m), torch's form of it.
    """

    kind: Literal["sgd"]
    momentum: Beta = 0.0
    nesterov: bool = False

    STACKED = ("momentum", "weight_decay")

    @field_validator("nesterov")
    @classmethod
    def _has_momentum(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("momentum") == 0:
            raise ValueError("false, or a momentum above 0")
        return value


class Adam(_Optimizer):
    """Adam with L2 regularisation inside the gradient (torch.optim.Adam; arXiv 1412.6980)."""

    kind: Literal["adam"]
    betas: Betas = (0.9, 0.999)
    eps: PositiveFloat = 1e-8

    STACKED = ("betas", "eps", "weight_decay")


class AdamW(_Optimizer):
    """Adam with decoupled weight decay (torch.optim.AdamW; arXiv 1711.05101)."""

    kind: Literal["adamw"]
    betas: Betas = (0.9, 0.999)
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.01

    STACKED = ("betas", "eps", "weight_decay")


class GIAdam(_Optimizer):
    """Adam whose second moment starts at the first gradient's square, bias correction kept (arXiv 2406.09405).

    By itself this is a warmup: on a constant gradient the rate is lr sqrt(1 - beta2^t).
    """

    kind: Literal["gi_adam"]
    betas: Betas = (0.9, 0.999)
    eps: PositiveFloat = 1e-8

    STACKED = ("betas", "eps", "weight_decay")


class RAdam(_Optimizer):
    """Rectified Adam (torch.optim.RAdam; arXiv 1908.03265): plain momentum until rho_t > rectify_above (paper: 4)."""

    kind: Literal["radam"]
    rectify_above: Literal[4, 5] = 5
    betas: Betas = (0.9, 0.999)
    eps: PositiveFloat = 1e-8

    STACKED = ("betas", "eps", "weight_decay")

    @field_validator("betas")
    @classmethod
    def _rectifies(cls, value: tuple[float, float], info: ValidationInfo) -> tuple[float, float]:
        above = info.data.get("rectify_above", 5)
        if 2 / (1 - value[1]) - 1 <= above:
            raise ValueError(f"beta2 above {1 - 2 / (above + 1):.4g}: below it rho never exceeds {above}")
        return value


class Lion(_Optimizer):
    """w <- w - lr (sign(beta1 m + (1 - beta1) g) + weight_decay w), m <- beta2 m + (1 - beta2) g (arXiv 2302.06675)."""

    kind: Literal["lion"]
    betas: Betas = (0.9, 0.99)

    STACKED = ("betas", "weight_decay")


class AdamW2(_Optimizer):
    """AdamW whose step is bounded by each weight matrix's spectral norm (AdamW^2; arXiv 2505.21910).

    D is AdamW's direction, s(.) the largest singular value: per matrix alpha = min(lr, tau s(W) / s(D)), then
    W <- W - alpha (D + weight_decay W), so that s(W) grows by a share tau at most. Vectors keep AdamW.
    """

    kind: Literal["adamw_w2"]
    betas: Betas = (0.9, 0.999)
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.01
    tau: PositiveFloat = 0.004
    """Share by which a matrix's largest singular value may grow in one update."""
    sigma_floor: PositiveFloat = 0.01
    """The least s(W) to count with: a matrix of zeros would never move otherwise."""
    power_iterations: Annotated[int, Field(ge=1, le=100)] = 5
    """Per update, from the vectors of the update before."""

    STACKED = ("betas", "eps", "weight_decay", "tau", "sigma_floor")


class LARS(_Optimizer):
    """SGD with momentum and a rate of its own per layer (arXiv 1708.03888): m <- momentum m + r (g + weight_decay w),
    w <- w - lr m, r = trust_coefficient |w| / (|g| + weight_decay |w|); r = 1 where |w| or |g| is 0.
    """

    kind: Literal["lars"]
    momentum: Beta = 0.9
    trust_coefficient: PositiveFloat = 0.001
    adapt_on: Layers = "matrices"
    """Which layers get a rate of their own; the others have r = 1."""

    STACKED = ("momentum", "weight_decay", "trust_coefficient")


class LAMB(_Optimizer):
    """AdamW whose step is as long as the layer's weights, times lr (arXiv 1904.00962): D is AdamW's direction,
    w <- w - lr r (D + weight_decay w), r = |w| / |D + weight_decay w|; r = 1 where either norm is 0.
    """

    kind: Literal["lamb"]
    betas: Betas = (0.9, 0.999)
    eps: PositiveFloat = 1e-6
    weight_decay: NonNegativeFloat = 0.01
    adapt_on: Layers = "matrices"
    """Which layers get a rate of their own; the others have r = 1."""

    STACKED = ("betas", "eps", "weight_decay")


class ScheduleFreeAdamW(_Optimizer):
    """Schedule-Free AdamW (arXiv 2405.15682): gradients at y = (1 - beta1) z + beta1 x, steps of z, x their average.

    Evaluations and the end of the run are at x; steps and probes at y, where the gradients are. The weight of update k
    in x is (k + 1)^r (largest lr so far)^weight_lr_power. A warmup, and no decay, is what it is meant to run with.
    """

    kind: Literal["schedule_free_adamw"]
    betas: Betas = (0.9, 0.999)
    eps: PositiveFloat = 1e-8
    r: NonNegativeFloat = 0.0
    weight_lr_power: NonNegativeFloat = 2.0

    STACKED = ("betas", "eps", "weight_decay", "r", "weight_lr_power")


Optimizer = Annotated[
    SGD | Adam | AdamW | GIAdam | RAdam | Lion | AdamW2 | LARS | LAMB | ScheduleFreeAdamW | PluginOptimizer,
    Field(discriminator="kind"),
]
