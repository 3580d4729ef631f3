"""What can be counted of a workload without building it."""

from itertools import pairwise

from schemas.catalog import DatasetFacts
from schemas.starts import num_coordinates
from schemas.workloads import MLP, Analytic, Workload


def num_parameters(workload: Workload, facts: DatasetFacts | None) -> int:
    """Parameters of one trial."""
    if isinstance(workload, Analytic):
        return num_coordinates(workload.function)
    assert facts is not None
    return _mlp_parameters(workload.model, _product(facts.input_shape), facts.num_classes)


def model_kind(workload: Workload) -> str:
    """The model's kind, or `analytic`."""
    return "analytic" if isinstance(workload, Analytic) else workload.model.kind


def _mlp_parameters(model: MLP, num_inputs: int, num_classes: int) -> int:
    widths = (num_inputs, *model.widths, num_classes)
    return sum((fan_in + 1) * fan_out for fan_in, fan_out in pairwise(widths))


def _product(shape: tuple[int, ...]) -> int:
    result = 1
    for length in shape:
        result *= length
    return result
