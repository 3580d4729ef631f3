"""A user's own parts: how a study names them, which code they are, and which options they take."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, get_args

import rfc8785
from pydantic import AfterValidator, Field, JsonValue

from schemas.base import PART_NAME_PATTERN, SHA256_PATTERN, Name, Spec, canonical_json, content_hash
from schemas.errors import Problem, SpecError
from schemas.learning_rates import PeakLRs
from schemas.problems import did_you_mean, join_field, show

Group = Literal["models", "datasets", "losses", "optimizers", "schedules"]
GROUPS: tuple[Group, ...] = get_args(Group)
"""A part of group G is an entry point of `warmup_bench.G`, or an item of `PLUGINS["G"]` in a file."""
GIVEN: Mapping[Group, tuple[str, ...]] = {
    "models": (),
    "datasets": (),
    "losses": ("output", "target"),
    "optimizers": ("params", "lr"),
    "schedules": ("step", "warmup_steps", "total_steps"),
}
"""Group -> arguments that a part is called with; all others are options. Of a loss, the first two by position."""
CALLED: Mapping[Group, str] = {
    "models": "model",
    "datasets": "data set",
    "losses": "loss",
    "optimizers": "optimizer",
    "schedules": "schedule",
}

MOST_NAME = 100
PartName = Annotated[str, Field(min_length=1, max_length=MOST_NAME, pattern=PART_NAME_PATTERN)]


def is_part_name(name: object) -> bool:
    """Whether a study can name a part so."""
    return isinstance(name, str) and len(name) <= MOST_NAME and re.fullmatch(PART_NAME_PATTERN, name) is not None


class _Options(dict[str, Any]):
    """Options as a value: components are shared, compared and hashed."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(canonical_json(self))


def _options(options: dict[str, Any]) -> _Options:
    try:
        canonical_json(options)
    except rfc8785.CanonicalizationError:
        raise ValueError("integers that JSON carries without loss: at most 2**53 - 1") from None
    return _Options(options)


Options = Annotated[dict[str, JsonValue], AfterValidator(_options)]
"""Keyword arguments of a part, checked against its signature."""


class Plugin(Spec):
    """What all parts of one's own are named with."""

    kind: Literal["plugin"]
    name: PartName
    options: Options = Field(default_factory=_Options)

    GROUP: ClassVar[Group]


class PluginModel(Plugin):
    """A model of your own: `f(**options) -> torch.nn.Module`."""

    GROUP = "models"


class PluginDataset(Plugin):
    """A data set of your own: `f(**options) -> {"train": (x, y), "validation": (x, y)}`, with "test" or without."""

    GROUP = "datasets"


class PluginLoss(Plugin):
    """A loss of your own: `f(output, target) -> tensor`, the mean over a batch."""

    GROUP = "losses"


class PluginOptimizer(Plugin):
    """A `torch.optim.Optimizer` class: torch's, or your own. The schedule sets its rate before every step."""

    label: Name | None = None
    """What the study calls it; the part's name where it is left out."""
    peak_lrs: PeakLRs | None = None

    GROUP = "optimizers"
    STACKED: ClassVar[tuple[str, ...]] = ()


class PluginSource(Spec):
    """The code of one part. A study that was accepted states it, and no other code is trained under its name."""

    group: Group
    name: PartName
    distribution: Annotated[str, Field(max_length=200)]
    """Name of the installed distribution, or of the file."""
    version: Annotated[str, Field(max_length=200)] = ""
    sha256: Annotated[str, Field(pattern=SHA256_PATTERN)]
    """Of the source: the package's or module's `.py` files."""

    @property
    def key(self) -> tuple[str, str]:
        """What it is found by."""
        return self.group, self.name

    def __str__(self) -> str:
        version = f" {self.version}" if self.version else ""
        return f"{CALLED[self.group]} {self.name} ({self.distribution}{version}, sha256 {self.sha256[:12]})"


class Parameter(Spec):
    """One option in a part's signature."""

    name: str
    is_required: bool
    type: Literal["", "int", "float", "str", "bool"] = ""
    """Its annotation, where that is one of these."""


class PluginFacts(Spec):
    """What is known of a part without calling it: a row of the manifest that a service reads."""

    source: PluginSource
    parameters: Annotated[tuple[Parameter, ...], Field(strict=False)] = ()
    takes_any: bool = False
    """Whether it takes options of any name (`**options`)."""
    defaults: dict[str, JsonValue] = Field(default_factory=dict)
    """Of the options that JSON can say."""


def kind_name(spec: Any) -> str:
    """What a component is called by default: its kind, or the name of a part of one's own."""
    return str(spec.name if isinstance(spec, Plugin) else spec.kind)


def dataset_key(dataset: Any) -> str:
    """What the catalog calls a data set: its kind; of one's own, `plugin:NAME` and what tells its options."""
    if not isinstance(dataset, PluginDataset):
        return str(dataset.kind)
    return own_dataset_key(dataset.name, dataset.options)


def own_dataset_key(name: str, options: Mapping[str, Any]) -> str:
    """`dataset_key` of a data set of one's own."""
    return f"plugin:{name}" + (f":{content_hash(dict(options))[:12]}" if options else "")


def own_parts(component: Any) -> Iterator[Plugin]:
    """The parts of one's own that a workload, an optimizer or a schedule names."""
    for spec in (component, *(getattr(component, name, None) for name in ("model", "dataset", "loss", "warmup"))):
        if isinstance(spec, Plugin):
            yield spec


def sources_of(sources: Sequence[PluginSource], *components: Any) -> tuple[PluginSource, ...]:
    """The code of the parts that the components name, in a fixed order.

    Raises:
        SpecError: a part whose code nobody has stated.
    """
    known = {source.key: source for source in sources}
    needed = {(part.GROUP, part.name): None for component in components for part in own_parts(component)}
    missing = [key for key in needed if key not in known]
    if missing:
        raise SpecError([Problem("plugins", "nothing", f"the source of {CALLED[g]} {name}") for g, name in missing])
    return tuple(known[key] for key in sorted(needed))


def unknown_part(part: Plugin, where: str, known: Sequence[str], how: str) -> Problem:
    """The problem with a part that is not there. `how`: what to do to have it."""
    listed = f"{', '.join(sorted(known))}; " if known else ""
    return Problem(f"{where}.name", show(part.name), f"{listed}{how}{did_you_mean(part.name, list(known))}")


def option_problems(part: Plugin, facts: PluginFacts, where: str) -> list[Problem]:
    """Options that the part's signature does not take, or lacks."""
    names = [parameter.name for parameter in facts.parameters]
    takes = f"{part.name} takes {', '.join(names) or 'no options'}"
    problems = []
    for name, value in part.options.items():
        place = join_field(f"{where}.options", name)
        parameter = next((one for one in facts.parameters if one.name == name), None)
        if name in GIVEN[part.GROUP]:
            problems.append(Problem(place, show(value), f"no option of this name: the training gives {name}"))
        elif parameter is None and not facts.takes_any:
            problems.append(Problem(place, show(value), f"no option of this name: {takes}{did_you_mean(name, names)}"))
        elif parameter is not None and not _fits(value, parameter.type):
            problems.append(Problem(place, show(value), _TYPES[parameter.type]))
    for parameter in facts.parameters:
        if parameter.is_required and parameter.name not in part.options:
            problems.append(Problem(f"{where}.options.{parameter.name}", "nothing", f"a value: {part.name} needs one"))
    return problems + _own_warmup_problems(part, facts, where)


_TYPES = {"int": "an integer", "float": "a number", "str": "a text", "bool": "true or false"}


def _fits(value: Any, type_: str) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return {
        "": True,
        "int": isinstance(value, int) and not isinstance(value, bool),
        "float": is_number,
        "str": isinstance(value, str),
        "bool": isinstance(value, bool),
    }[type_]


def _own_warmup_problems(part: Plugin, facts: PluginFacts, where: str) -> list[Problem]:
    """An optimizer that warms up by itself would multiply into the schedule that is studied."""
    if part.GROUP != "optimizers":
        return []
    said = {**facts.defaults, **part.options}
    return [
        Problem(f"{where}.options.{name}", show(value), "0, false or null: the warmup is the schedule's")
        for name, value in said.items()
        if "warmup" in name.lower() and value
    ]
