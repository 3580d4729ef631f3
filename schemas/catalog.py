"""What is known of a data set without reading it: the catalog row that workers publish and everybody else relies on."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from schemas.base import PositiveInt, Spec
from schemas.errors import DataMissing
from schemas.workloads import Analytic, Workload


class DatasetFacts(Spec):
    """One data set as it lies on the workers' disks."""

    kind: str
    sha256: Annotated[str, Field(min_length=64, max_length=64)]
    num_train: PositiveInt
    num_validation: PositiveInt
    num_test: PositiveInt
    num_classes: PositiveInt
    input_shape: Annotated[tuple[PositiveInt, ...], Field(strict=False)]
    reference_loss: float
    """Loss of the best constant answer, in nats."""
    source: str = ""


def dataset_facts(workload: Workload, datasets: Mapping[str, DatasetFacts]) -> DatasetFacts | None:
    """The facts of a workload's data set; None for an analytic function.

    Raises:
        DataMissing: no catalog row vouches for it.
    """
    if isinstance(workload, Analytic):
        return None
    kind = workload.dataset.kind
    if kind not in datasets:
        raise DataMissing(f"data set {kind} is not in the catalog: `warmup-bench data list` says how to get it")
    return datasets[kind]


def num_train_examples(workload: Workload, facts: DatasetFacts | None) -> int:
    """Examples in an epoch; 0 for an analytic function."""
    if facts is None or isinstance(workload, Analytic):
        return 0
    return min(facts.num_train, workload.dataset.subset or facts.num_train)
