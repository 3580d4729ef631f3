"""What is known of a data set without reading it: the catalog row that workers publish and everybody else relies on."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from schemas.base import NonNegativeInt, PositiveInt, Spec
from schemas.errors import DataMissing
from schemas.plugins import PluginDataset, dataset_key
from schemas.workloads import Analytic, Classification, LanguageModel, Workload

FETCHABLE = ("cifar10", "fashion_mnist", "fsdd", "tinyshakespeare")
"""Sets that `warmup-bench data fetch` brings."""


class DatasetFacts(Spec):
    """One data set as it lies on the workers' disks. Of a text, `num_*` count its characters, and `num_classes` is its
    vocabulary.
    """

    kind: str
    sha256: Annotated[str, Field(min_length=64, max_length=64)]
    num_train: PositiveInt
    num_validation: PositiveInt
    num_test: NonNegativeInt
    num_classes: PositiveInt
    input_shape: Annotated[tuple[PositiveInt, ...], Field(strict=False)]
    reference_loss: float
    """Loss of the best constant answer, in nats."""
    source: str = ""


def how_to_get(kind: str) -> str:
    """What brings a set that is missing, as the end of a sentence."""
    if kind in FETCHABLE:
        return f"`warmup-bench data fetch {kind}` gets it"
    if kind == "pydoc":
        return "this Python has no pydoc_data.topics; the Pythons of python.org and of most distributions have it"
    return "`warmup-bench data list` says how to get it"


def dataset_facts(workload: Workload, datasets: Mapping[str, DatasetFacts]) -> DatasetFacts | None:
    """The facts of a workload's data set; None for an analytic function.

    Raises:
        DataMissing: no catalog row vouches for it.
    """
    if isinstance(workload, Analytic):
        return None
    kind = dataset_key(workload.dataset)
    if isinstance(workload.dataset, PluginDataset) and kind not in datasets:
        raise DataMissing(
            f"data set {workload.dataset.name}: with these options it is not in the catalog; run the study where it is"
            " installed, or ask the operator for it"
        )
    if kind not in datasets:
        raise DataMissing(f"data set {kind} is not in the catalog: {how_to_get(kind)}")
    return datasets[kind]


def num_train_examples(workload: Workload, facts: DatasetFacts | None) -> int:
    """Examples in an epoch: of a text, windows; 0 for an analytic function."""
    if facts is None or isinstance(workload, Analytic):
        return 0
    num_there = num_examples_there(workload, facts)
    return min(num_there, getattr(workload.dataset, "subset", None) or num_there)


def num_examples_there(workload: Classification | LanguageModel, facts: DatasetFacts) -> int:
    """Training examples of the whole set, of which `subset` may leave some out."""
    if not isinstance(workload, LanguageModel) or isinstance(workload.dataset, PluginDataset):
        return facts.num_train
    return max(1, num_windows(facts.num_train, workload.context))  # a longer context is refused elsewhere


def num_windows(num_characters: int, context: int) -> int:
    """Windows of `context` characters in a part of a text: the last character of a window has one that follows it."""
    return max(0, (num_characters - 1) // context)
