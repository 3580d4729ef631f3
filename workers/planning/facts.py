"""What can be counted of a workload without building it."""

from itertools import pairwise

from schemas.catalog import DatasetFacts
from schemas.own_parts import NO_PARTS, OwnParts
from schemas.plugins import PluginModel
from schemas.starts import num_coordinates
from schemas.workloads import GPT, MLP, Analytic, LanguageModel, Workload


def num_parameters(workload: Workload, facts: DatasetFacts | None, own: OwnParts = NO_PARTS) -> int:
    """Parameters of one trial; 0 for a model of the user's own that nobody has built yet."""
    if (found := own.of(workload)) is not None:
        return found.num_parameters
    if isinstance(workload, Analytic):
        return num_coordinates(workload.function)
    assert facts is not None
    if isinstance(workload, LanguageModel):
        return _gpt_parameters(workload.model, facts.num_classes)
    if isinstance(workload.model, PluginModel):
        return 0
    return _mlp_parameters(workload.model, _product(facts.input_shape), facts.num_classes)


def operations_per_example(workload: Workload, facts: DatasetFacts | None, own: OwnParts = NO_PARTS) -> float:
    """Of a gradient: 2 per parameter and example (of a text, token) forward, 4 backward; attention reads on top."""
    operations = 6.0 * max(1, num_parameters(workload, facts, own))
    if isinstance(workload, LanguageModel):
        model = workload.model
        return (operations + 12 * model.layers * model.width * model.context) * model.context
    return operations


def model_kind(workload: Workload) -> str:
    """The model's kind, or `analytic`."""
    return "analytic" if isinstance(workload, Analytic) else workload.model.kind


def _mlp_parameters(model: MLP, num_inputs: int, num_classes: int) -> int:
    widths = (num_inputs, *model.widths, num_classes)
    return sum((fan_in + 1) * fan_out for fan_in, fan_out in pairwise(widths))


def _gpt_parameters(model: GPT, vocabulary: int) -> int:
    width = model.width
    block = 12 * width**2 + 13 * width  # attention 4 matrices and biases, the network 8 and 5, two norms
    tables = (vocabulary * (1 if model.weight_tying else 2) + model.context) * width
    return model.layers * block + tables + (2 * width if model.last_norm else 0)


def _product(shape: tuple[int, ...]) -> int:
    result = 1
    for length in shape:
        result *= length
    return result
