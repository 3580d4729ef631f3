"""What can be counted of a workload without building it."""

from schemas.catalog import DatasetFacts
from schemas.own_parts import NO_PARTS, OwnParts
from schemas.plugins import PluginModel
from schemas.starts import num_coordinates
from schemas.trials import tokens_per_example
from schemas.workloads import Analytic, Workload
from workers.planning.networks import counts


def num_parameters(workload: Workload, facts: DatasetFacts | None, own: OwnParts = NO_PARTS) -> int:
    """Parameters of one trial; 0 for a model of the user's own that nobody has built yet."""
    if (found := own.of(workload)) is not None:
        return found.num_parameters
    if isinstance(workload, Analytic):
        return num_coordinates(workload.function)
    assert facts is not None
    if isinstance(workload.model, PluginModel):
        return 0
    return counts(workload.model, facts.input_shape, facts.num_classes).parameters


def operations_per_example(workload: Workload, facts: DatasetFacts | None, own: OwnParts = NO_PARTS) -> float:
    """Of a gradient: 2 per multiply-add forward, 4 backward; of a model of the user's own, one for each parameter and
    token.
    """
    if isinstance(workload, Analytic) or isinstance(workload.model, PluginModel):
        return 6.0 * max(1, num_parameters(workload, facts, own)) * tokens_per_example(workload)
    assert facts is not None
    return 6.0 * counts(workload.model, facts.input_shape, facts.num_classes).multiply_adds


def row_kind(workload: Workload, own: OwnParts = NO_PARTS) -> str:
    """The kind of model whose rows of the table of pack sizes are meant: of a user's own with convolutions `resnet`."""
    found = own.of(workload)
    return "resnet" if found is not None and found.has_convolutions else model_kind(workload)


def model_kind(workload: Workload) -> str:
    """The model's kind, or `analytic`."""
    return "analytic" if isinstance(workload, Analytic) else workload.model.kind
