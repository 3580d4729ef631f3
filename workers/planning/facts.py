"""What can be counted of a workload without building it."""

from schemas.catalog import DatasetFacts
from schemas.starts import num_coordinates
from schemas.workloads import Analytic, Workload
from workers.planning.networks import counts


def num_parameters(workload: Workload, facts: DatasetFacts | None) -> int:
    """Parameters of one trial."""
    if isinstance(workload, Analytic):
        return num_coordinates(workload.function)
    assert facts is not None
    return counts(workload.model, facts.input_shape, facts.num_classes).parameters


def operations_per_example(workload: Workload, facts: DatasetFacts | None) -> float:
    """Of a gradient: 2 per multiply-add forward, 4 backward."""
    if isinstance(workload, Analytic):
        return 6.0 * num_coordinates(workload.function)
    assert facts is not None
    return 6.0 * counts(workload.model, facts.input_shape, facts.num_classes).multiply_adds


def model_kind(workload: Workload) -> str:
    """The model's kind, or `analytic`."""
    return "analytic" if isinstance(workload, Analytic) else workload.model.kind
