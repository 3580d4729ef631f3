"""What the service answers: studies, trials, pages, problems, as pydantic models that OpenAPI is made from."""

from collections.abc import Iterable
from datetime import datetime
from operator import attrgetter
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from schemas.trials import Outcome, TrialState
from service.strict_json import Number
from workers.ledger.rows import StudyHead, StudyRow, TrialRow

StudyId = Annotated[str, Field(pattern="^[0-9a-f]{16}$", examples=["3f9a0c6be51d7248"])]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0)]
Item = TypeVar("Item")
Pair = Annotated[list[Item], Field(min_length=2, max_length=2)]


class Resource(BaseModel):
    """What is answered; every field is always there."""

    model_config = ConfigDict(
        extra="forbid", ser_json_inf_nan="strings", json_schema_serialization_defaults_required=True
    )


class Counts(Resource):
    """Trials by state, and the done ones by outcome as well."""

    queued: Count
    running: Count
    done: Count
    cancelled: Count
    errored: Count
    trained: Count
    stalled: Count
    diverged: Count


class StudyLinks(Resource):
    """Where the rest of a study is."""

    self: str
    trials: str
    events: str
    report: str


class StudyResource(Resource):
    """A study, without its spec."""

    id: StudyId
    name: str
    owner: str
    """Keys of one owner share their studies."""
    state: TrialState
    reason: str
    """Why it is cancelled or errored, or done without all of its trials; else empty."""
    publishing: Literal["current", "behind"]
    """Whether MLflow has everything that the ledger has."""
    cancel_requested: bool
    priority: int
    spec_hash: Sha256
    """Of the resolved spec: two studies of one hash are of one spec."""
    total: Count
    """Trials in all rounds so far."""
    counts: Counts
    steps: Count
    """Updates that all its trials make in full."""
    steps_unfinished: Count
    device_class: str | None
    """`cpu` or a GPU's model; null until it is planned."""
    version: Count
    """Raised by every change; the ETag of the study."""
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None
    links: StudyLinks


class StudyWithSpec(StudyResource):
    """A study with its spec, every default written out."""

    spec: dict[str, Any]


class Extension(Resource):
    """What an extension added."""

    round: int | None
    """The number of the new round; null where the study had every trial already."""
    num_new: Count
    """Trials that were not in the study before."""


class ExtendedStudy(StudyResource):
    """A study after an extension."""

    extension: Extension


class Seed(Resource):
    """The three streams that a seed fixes."""

    initialization: Count
    data_order: Count
    noise: Count


class TrialSummary(Resource):
    """What a trial came to; empty fields where it did not come so far."""

    model_config = ConfigDict(extra="allow")

    outcome_step: int | None = None
    last_finite_loss: Number | None = None
    steps_completed: int | None = None
    warmup_steps: int | None = None
    start_loss: Number | None = None
    reference_loss: Number | None = None
    final: dict[str, Number] | None = None
    """train_loss, train_eval_loss, validation_loss, validation_accuracy, test_loss, test_accuracy."""
    best: dict[str, Number] | None = None
    max_loss: Number | None = None
    max_lr_applied: Number | None = None
    gradients: Number | None = None
    hvps: int | None = None
    peak_lr: Number | None = None
    """The rate, of a trial whose peak_lr is stated as a multiple."""
    forward_passes: int | None = None
    device: str | None = None


class TrialLinks(Resource):
    """Where the rest of a trial is."""

    self: str
    study: str
    records: str


class TrialResource(Resource):
    """The newest attempt at a trial of a study."""

    id: Sha256
    study_id: StudyId
    state: TrialState
    outcome: Outcome | None
    reason: str
    workload: str
    optimizer: str
    schedule: str
    peak_lr: float
    """As the study states it: a rate, or with `relative_to` a multiple, whose rate is then in the summary."""
    seed: Seed
    swept: dict[str, Any]
    """Path -> value of each sweep that the trial took a value of."""
    num_index: Count
    """Position in the study, from 0."""
    round: Count
    attempt: Count
    """1, raised by each continue that took the trial up again."""
    cell_id: Sha256
    """The trial's identity without its seed."""
    measurement_id: str
    execution_id: str | None
    steps: Count
    """Updates that it makes in full."""
    summary: TrialSummary | None
    pack_id: str | None
    slot: int | None
    replanned: bool
    reused_from: str | None
    """The study whose finished trial this one took over."""
    started_at: datetime | None
    finished_at: datetime | None
    links: TrialLinks


class Page(Resource, Generic[Item]):
    """One page of a list."""

    items: list[Item]
    next: str | None
    """The cursor of the next page; null on the last one."""


class BudgetResource(Resource):
    """What a study may spend, and what it would need."""

    hours: float | None
    gradients: float | None
    """Gradient equivalents: one Hessian-vector product is two."""
    gradients_needed: float
    """Of what is left to train, in gradient equivalents, at most."""
    packs_paid: Count | None
    """How many of the packs that are left `gradients` pays for, where none has begun; null without it."""


class PlanResource(Resource):
    """What a study will cost: what `warmup-bench plan --json` prints."""

    name: str
    spec_hash: Sha256
    device_class: str
    workers: Count
    trials: Count
    trials_done: Count
    """Trials that are finished already and would not be trained again; what follows is of the others."""
    packs: Count
    steps: Count
    gradients: float
    hvps: Count
    record_rows: Count
    record_bytes: Count
    budget: BudgetResource | None
    """The study's own `budget` beside what it would need; null where it has none."""
    seconds: Pair[float] | None
    """Interval of training time; null where no pack of this kind has run on this device class yet."""
    thinned: dict[str, list[Pair[int]]]
    """Probe -> (points kept, points asked for), where the budget did not allow all."""
    warmup_steps: dict[str, str]
    """Schedule -> its warmup in steps, per workload."""
    unstacked: dict[str, str]
    """Workload and optimizer -> why their trials train one by one; none where nobody has built them yet."""
    notes: list[str]
    """What else a person should know before it trains."""
    spec: dict[str, Any]


class PresetResource(Resource):
    """A study that ships with the program."""

    name: str
    description: str


class DatasetResource(Resource):
    """A data set that workers have published."""

    kind: str
    sha256: Sha256
    facts: dict[str, Any]
    published_at: datetime


class KindResource(Resource):
    """Something that a study may name."""

    model_config = ConfigDict(protected_namespaces=())

    family: str
    kind: str
    description: str
    json_schema: Annotated[dict[str, Any], Field(alias="schema")]


class PluginResource(Resource):
    """An installed part that the operator has listed, so that studies may name it."""

    group: str
    name: str
    distribution: str
    version: str
    sha256: Sha256
    options: list[str]
    """Names of what it takes; those that it needs first."""


class CatalogResource(Resource):
    """Everything that a study may name."""

    kinds: list[KindResource]
    study: dict[str, Any]
    """The JSON Schema (2020-12) of a study document."""
    datasets: list[DatasetResource]
    plugins: list[PluginResource]


class Health(Resource):
    """What a probe asks."""

    status: str


class StudyPage(Page[StudyResource]):
    """One page of studies."""


class TrialPage(Page[TrialResource]):
    """One page of trials."""


class PresetPage(Page[PresetResource]):
    """The studies that ship with the program."""


def study_resource(row: StudyHead) -> StudyResource:
    """A study without its spec."""
    return StudyResource(**_study_fields(row))


def study_with_spec(row: StudyRow) -> StudyWithSpec:
    """A study with its spec."""
    return StudyWithSpec(**_study_fields(row), spec=row.spec)


def extended_study(row: StudyHead, round_number: int | None, num_new: int) -> ExtendedStudy:
    """A study and what was added to it."""
    return ExtendedStudy(**_study_fields(row), extension=Extension(round=round_number, num_new=num_new))


def trial_resource(row: TrialRow) -> dict[str, Any]:
    """One attempt at a trial: a TrialResource that is not made, since a page has a thousand of them.

    The ledger has checked what is in a row; a test compares the fields, and the contract's tests the values.
    """
    at = f"/v1/trials/{row.trial_id}"
    summary = None if row.summary is None else _NO_SUMMARY | row.summary
    links = {"self": at, "study": f"/v1/studies/{row.study_id}", "records": f"{at}/records"}
    said = dict(zip(_SAME_IN_TRIAL, _same_in_trial(row), strict=True))
    return {"id": row.trial_id, **said, "summary": summary, "links": links}


def page_of(items: Iterable[Item], following: str | None) -> Page[Item]:
    """A page whose items were checked when they were made."""
    return Page[Any].model_construct(items=list(items), next=following)


def _study_fields(row: StudyHead) -> dict[str, Any]:
    at = f"/v1/studies/{row.id}"
    links = StudyLinks(self=at, trials=f"{at}/trials", events=f"{at}/events", report=f"{at}/report")
    return {name: getattr(row, name) for name in _SAME_IN_STUDY} | {"links": links}


_SAME_IN_STUDY = tuple(name for name in StudyResource.model_fields if name != "links")
_SAME_IN_TRIAL = tuple(name for name in TrialResource.model_fields if name not in ("id", "summary", "links"))
_same_in_trial = attrgetter(*_SAME_IN_TRIAL)
_NO_SUMMARY = dict.fromkeys(TrialSummary.model_fields)
