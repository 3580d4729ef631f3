"""What a worker has found out about a study's own parts by importing and building them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from schemas.base import NonNegativeInt, PositiveInt, Spec, content_hash
from schemas.catalog import DatasetFacts
from schemas.errors import Problem
from schemas.plugins import (
    Group,
    Plugin,
    PluginFacts,
    PluginOptimizer,
    PluginSource,
    option_problems,
    own_parts,
    unknown_part,
)
from schemas.study import Study


class WorkloadFacts(Spec):
    """What was found out about a workload with parts of one's own by building it."""

    num_parameters: NonNegativeInt
    output_size: PositiveInt = 1
    """Values of the model's output for one example."""
    unstacked: str = ""
    """Why its trials train alone: `BatchNorm in acme_net`; empty where they are stacked."""
    no_hvp: str = ""
    """Why it has no Hessian-vector products; empty where it has."""
    has_convolutions: bool = False
    """Whether its model convolves, which a stack does one group a trial: slower than each alone, on a CPU."""


@dataclass(frozen=True)
class OwnParts:
    """What a worker has found out about a study's own parts."""

    plugins: Sequence[PluginFacts] = ()
    datasets: Sequence[DatasetFacts] = ()
    """Of the data sets among them, with the options that the study gives."""
    workloads: Mapping[str, WorkloadFacts] = field(default_factory=dict)
    """workload_key -> facts; nothing for a workload that has no part of one's own."""

    def to_json(self) -> dict[str, Any]:
        """As `from_json` reads it."""
        return {
            "plugins": [facts.model_dump(mode="json") for facts in self.plugins],
            "datasets": [facts.model_dump(mode="json") for facts in self.datasets],
            "workloads": {key: facts.model_dump(mode="json") for key, facts in self.workloads.items()},
        }

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> "OwnParts":
        """What another process has found."""
        return cls(
            [PluginFacts.model_validate(row) for row in said["plugins"]],
            [DatasetFacts.model_validate(row) for row in said["datasets"]],
            {key: WorkloadFacts.model_validate(row) for key, row in said["workloads"].items()},
        )

    def sources(self) -> list[PluginSource]:
        """The code of all parts."""
        return [facts.source for facts in self.plugins]

    def of(self, workload: Any) -> WorkloadFacts | None:
        """The facts of a workload; None where it has no part of one's own, or nobody has looked."""
        return self.workloads.get(workload_key(workload)) if self.workloads else None

    def why_unstacked(self, workload: Any, optimizer: Any) -> str:
        """Why trials of these two cannot be stacked; empty where they can."""
        facts = self.of(workload)
        reasons = [facts.unstacked] if facts is not None and facts.unstacked else []
        if isinstance(optimizer, PluginOptimizer):
            reasons.append(f"optimizer {optimizer.name}")
        return ", ".join(reasons)


NO_PARTS = OwnParts()
PLACES: Mapping[Group, str] = {
    "models": ".model",
    "datasets": ".dataset",
    "losses": ".loss",
    "optimizers": "",
    "schedules": ".warmup",
}
"""Group -> where in its entry a part stands."""


def part_problems(study: Study, facts: Mapping[tuple[str, str], PluginFacts], how: str | None = None) -> list[Problem]:
    """What is wrong with how a study names its own parts, and gives them options, for all that is known of them.

    Args:
        facts: (group, name) -> what is known.
        how: what to do about a part that is not among them; None where that is said elsewhere.
    """
    problems: dict[Problem, None] = {}
    for where, part in places_of_parts(study):
        known = facts.get((part.GROUP, part.name))
        if known is not None:
            problems |= dict.fromkeys(option_problems(part, known, where))
        elif how is not None:
            names = [name for group, name in facts if group == part.GROUP]
            problems[unknown_part(part, where, names, how)] = None
    for index, stated in enumerate(study.fields.plugins):
        found = facts.get(stated.key)
        if found is not None and found.source != stated:
            problems[Problem(f"plugins[{index}]", str(stated), f"what is here: {found.source}")] = None
    return list(problems)


def places_of_parts(study: Study) -> Iterator[tuple[str, Plugin]]:
    """Every part of one's own that a study names, with its field."""
    for axis in study.axes:
        for entry in study.axes[axis]:
            for variant in entry.variants.values():
                for part in own_parts(variant.spec):
                    yield entry.where + PLACES[part.GROUP], part


def workload_key(workload: Any) -> str:
    """Equal for workloads that build the same network on the same data with the same loss."""
    parts = {name: getattr(workload, name, None) for name in ("model", "dataset", "loss")}
    said = {name: part.model_dump(mode="json") for name, part in parts.items() if isinstance(part, BaseModel)}
    return content_hash({**said, "precision": getattr(workload, "precision", "")})
