"""What the client hands out: the service's resources, frozen. Fields that a newer server adds are passed over."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from service import resources

_CONFIG = ConfigDict(frozen=True, extra="ignore")


class Counts(resources.Counts):
    """Trials by state, and the done ones by outcome as well."""

    model_config = _CONFIG


class StudyLinks(resources.StudyLinks):
    """Where the rest of a study is."""

    model_config = _CONFIG


class Study(resources.StudyResource):
    """A study, without its spec."""

    model_config = _CONFIG

    counts: Counts
    links: StudyLinks

    @property
    def has_failed(self) -> bool:
        """Whether it ended otherwise than with every trial trained, stalled or diverged."""
        return self.state.is_final and (self.state != "done" or self.counts.errored > 0)


class StudyWithSpec(Study, resources.StudyWithSpec):
    """A study with its spec, every default written out."""


class Extension(resources.Extension):
    """What an extension added."""

    model_config = _CONFIG


class ExtendedStudy(Study, resources.ExtendedStudy):
    """A study after an extension."""

    extension: Extension


class Seed(resources.Seed):
    """The three streams that a seed fixes."""

    model_config = _CONFIG


class TrialSummary(resources.TrialSummary):
    """What a trial came to; numbers that are not finite are floats again."""

    model_config = ConfigDict(frozen=True, extra="allow")


class TrialLinks(resources.TrialLinks):
    """Where the rest of a trial is."""

    model_config = _CONFIG


class Trial(resources.TrialResource):
    """The newest attempt at a trial of a study."""

    model_config = _CONFIG

    seed: Seed
    summary: TrialSummary | None
    links: TrialLinks


class Preset(resources.PresetResource):
    """A study that ships with the server."""

    model_config = _CONFIG


class Kind(resources.KindResource):
    """A kind that a study may name, with its JSON Schema."""

    model_config = _CONFIG


class CatalogDataset(resources.DatasetResource):
    """A data set that studies may name."""

    model_config = _CONFIG


class CatalogPlugin(resources.PluginResource):
    """An installed part that studies may name."""

    model_config = _CONFIG


class Catalog(BaseModel):
    """Every kind that a study may name, and the data sets that are there."""

    model_config = _CONFIG

    kinds: list[Kind]
    study: dict[str, Any]
    """The JSON Schema (2020-12) of a study document."""
    datasets: list[CatalogDataset]
    plugins: list[CatalogPlugin] = []
    """Parts that the operator has installed and listed."""


class Page(BaseModel):
    """One page of a list, its items still to be read."""

    model_config = _CONFIG

    items: list[dict[str, Any]]
    next: str | None
