"""Which class builds which kind: the one table per family, read by the trainer.

A new kind is one file in its family's package and one line in that package's `BUILDERS`.
"""

from schemas.functions import AnalyticFunction
from schemas.plugins import PluginLoss, PluginModel, PluginOptimizer
from schemas.probes import Probe as ProbeSpec
from schemas.schedules import ClosedLoopWarmup
from schemas.workloads import Loss as LossSpec
from schemas.workloads import Model as ModelSpec
from schemas.workloads import TextModel
from workers.science import functions, losses, models, optimizers, probes, rules
from workers.science.optimizers import PackHyperparameters
from workers.science.own.losses import OwnLoss
from workers.science.own.modules import OwnModel
from workers.science.own.optimizers import TorchOptimizer
from workers.science.protocols import ClosedLoopRule, Function, Loss, Model, Optimizer, Probe


def build_model(spec: ModelSpec | TextModel, input_shape: tuple[int, ...], num_classes: int) -> Model:
    """The network of a workload that has one."""
    if isinstance(spec, PluginModel):
        return OwnModel(spec, input_shape, num_classes)
    return models.BUILDERS[spec.kind](spec, input_shape, num_classes)


def build_loss(spec: LossSpec) -> Loss:
    """The training loss of such a workload."""
    if isinstance(spec, PluginLoss):
        return OwnLoss(spec)
    return losses.BUILDERS[spec.kind](spec)


def build_function(spec: AnalyticFunction) -> Function:
    """An analytic function."""
    return functions.BUILDERS[spec.kind](spec)


def build_optimizer(kind: str, hyperparameters: PackHyperparameters) -> Optimizer:
    """The update rule of a pack."""
    own = hyperparameters.specs[0]
    if isinstance(own, PluginOptimizer):
        assert hyperparameters.layout is not None
        return TorchOptimizer(own, hyperparameters.layout)
    return optimizers.BUILDERS[kind](hyperparameters)


def build_rule(spec: ClosedLoopWarmup) -> ClosedLoopRule:
    """The closed loop of the members that share this warmup."""
    return rules.BUILDERS[spec.kind](spec)


def build_probe(spec: ProbeSpec) -> Probe:
    """A measurement along training."""
    return probes.BUILDERS[spec.kind](spec)
