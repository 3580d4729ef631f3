"""A trial: its spec, its identity, its states, its outcome, and the pack of trials that trains as one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property, lru_cache
from hashlib import sha256
from typing import Literal

from schemas.base import NonNegativeInt, PositiveInt, Spec, canonical_json, content_hash, without_defaults
from schemas.catalog import DatasetFacts, num_train_examples
from schemas.learning_rates import RelativeTo
from schemas.optimizers import Optimizer
from schemas.plugins import PluginOptimizer, PluginSource
from schemas.probes import Probe
from schemas.schedules import Schedule
from schemas.workloads import Analytic, LanguageModel, Workload

SCIENCE_REVISION = 1
"""Raised by every change that moves golden curves: it is part of each trial's id."""


class TrialState(StrEnum):
    """Where a trial, or a study, stands."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"
    ERRORED = "errored"

    @property
    def is_final(self) -> bool:
        """Nothing follows a final state."""
        return not _MOVES[self]

    def can_become(self, other: "TrialState") -> bool:
        """Whether the move is allowed."""
        return other in _MOVES[self]


_MOVES: Mapping[TrialState, frozenset[TrialState]] = {
    # queued -> done: reuse of a finished trial; running -> queued: its actor died and the pack runs again
    TrialState.QUEUED: frozenset({TrialState.RUNNING, TrialState.DONE, TrialState.CANCELLED, TrialState.ERRORED}),
    TrialState.RUNNING: frozenset({TrialState.QUEUED, TrialState.DONE, TrialState.CANCELLED, TrialState.ERRORED}),
    TrialState.DONE: frozenset(),
    TrialState.CANCELLED: frozenset(),
    TrialState.ERRORED: frozenset(),
}


class Outcome(StrEnum):
    """What became of a done trial (design/contracts.md, Outcome)."""

    TRAINED = "trained"
    STALLED = "stalled"
    DIVERGED = "diverged"


class Seed(Spec):
    """The three streams that a seed fixes."""

    initialization: NonNegativeInt
    data_order: NonNegativeInt
    noise: NonNegativeInt

    @property
    def label(self) -> str:
        """`3` where the three agree, else `3-4-5`."""
        parts = (self.initialization, self.data_order, self.noise)
        return str(parts[0]) if len(set(parts)) == 1 else "-".join(map(str, parts))


@dataclass(frozen=True)
class TrialSpec:
    """Everything that decides a trial's numbers. Components are shared between trials, never copied."""

    workload: Workload
    optimizer: Optimizer
    schedule: Schedule
    peak_lr: float
    """As stated: a rate, or with `relative_to` a multiple."""
    seed: Seed
    dataset_sha256: str | None = None
    plugins: tuple[PluginSource, ...] = ()
    """The code of its own parts, if it has any."""
    relative_to: RelativeTo | None = None
    first_initialization: int | None = None
    """With `relative_to` of scope study: the initialization at whose start the rate's unit is measured."""
    swept: Mapping[str, object] = field(default_factory=dict, hash=False, compare=False)
    """Path -> value for each `{sweep: [...]}` that this trial took a value of."""
    names: tuple[str, str, str] = field(default=("", "", ""), hash=False, compare=False)
    """What the study calls its workload, optimizer and schedule."""

    @cached_property
    def trial_id(self) -> str:
        """SHA-256 (64 hex) of the canonical JSON of what can change the trial's numbers."""
        return sha256(self._identity(with_seed=True)).hexdigest()

    @cached_property
    def cell_id(self) -> str:
        """The same without the seed: trials of one cell differ in their seed alone."""
        return sha256(self._identity(with_seed=False)).hexdigest()

    def _identity(self, *, with_seed: bool) -> bytes:
        # RFC 8785 by hand: keys in order, each component canonical already. Assembled from cached parts because a
        # study has a million of these and only a few hundred different components.
        parts = [
            b'"dataset_sha256":' + _canonical_scalar(self.dataset_sha256),
            b'"optimizer":' + _canonical_component(self.optimizer),
            b'"peak_lr":' + _canonical_scalar(self.peak_lr),
            b'"plugins":' + _canonical_sources(self.plugins) if self.plugins else b"",
            b'"relative_to":' + self._canonical_unit() if self.relative_to is not None else b"",
            b'"schedule":' + _canonical_component(self.schedule),
            b'"science_revision":' + _canonical_scalar(SCIENCE_REVISION),
            b'"seed":' + _canonical_seed(self.seed) if with_seed else b"",
            b'"workload":' + _canonical_component(self.workload),
        ]
        return b"{" + b",".join(part for part in parts if part) + b"}"

    def _canonical_unit(self) -> bytes:
        assert self.relative_to is not None
        where = {} if self.relative_to.scope == "trial" else {"first_initialization": self.first_initialization}
        # before mup's factors were part of P, such a unit was another number
        is_scaled = getattr(getattr(self.workload, "model", None), "parametrization", "standard") != "standard"
        factors = {"factors": True} if is_scaled and self.relative_to.quantity == "preconditioned_sharpness" else {}
        return canonical_json(self.relative_to.model_dump() | where | factors)


@lru_cache(maxsize=65536)
def _canonical_scalar(value: str | float | None) -> bytes:
    return canonical_json(value)


@lru_cache(maxsize=65536)
def _canonical_seed(seed: Seed) -> bytes:
    return canonical_json(seed.model_dump())


@lru_cache(maxsize=65536)
def _canonical_sources(sources: tuple[PluginSource, ...]) -> bytes:
    return canonical_json([source.model_dump() for source in sources])


@lru_cache(maxsize=65536)
def _canonical_component(component: Workload | Optimizer | Schedule) -> bytes:
    said = without_defaults(component)
    # A name is how a person calls it; rates are stated per trial; evaluation is part of the measurement id.
    named_by = "label" if isinstance(component, PluginOptimizer) else "name"
    for outside_identity in (named_by, "peak_lrs", "evaluation"):
        said.pop(outside_identity, None)
    return canonical_json(said)


class ProbePoints(Spec):
    """One probe of one pack member: the steps at which it is taken and what it may spend, fixed in the plan."""

    steps: tuple[NonNegativeInt, ...]
    hvps_allowed: NonNegativeInt = 0
    """Hessian-vector products that all points of this probe may spend together (0 for a probe without any)."""


@dataclass(frozen=True)
class Member:
    """One trial in its slot of a pack."""

    slot: int
    trial: TrialSpec
    probe_points: Mapping[str, ProbePoints] = field(default_factory=dict)
    """Probe name -> its points."""


@dataclass(frozen=True)
class PackTask:
    """A pack as a trainer gets it: members that share one graph, stacked on a leading axis of length `size`.

    Slots that no member takes are padding: trained on the first member's spec, masked, never recorded.
    """

    pack_id: str
    size: int
    members: tuple[Member, ...]
    probes: tuple[Probe, ...] = ()
    """The study's probe specs (schemas.probes.Probe), in spec order."""
    chunk_steps: int = 100
    checkpoint_steps: int = 10_000
    """A checkpoint is due at every multiple of it; whole chunks."""
    device: Literal["cpu", "cuda"] = "cpu"
    stacked: bool = True
    """Whether a graph serves all members at once; if not, the pack has one slot and runs as its parts are written."""

    @property
    def workload(self) -> Workload:
        """The workload that all members share."""
        return self.members[0].trial.workload

    def total_steps(self, num_train_examples: int) -> int:
        """Updates that each member makes at most."""
        return steps_of(self.workload, num_train_examples)


def total_steps(workload: Workload, facts: DatasetFacts | None) -> int:
    """The budget in updates."""
    return steps_of(workload, num_train_examples(workload, facts))


def steps_of(workload: Workload, num_train_examples: int) -> int:
    """The budget in updates: tokens, examples, epochs round up to whole batches (an epoch: `num_train_examples`)."""
    if isinstance(workload, Analytic):
        return workload.budget.steps
    budget = workload.budget
    if budget.steps is not None:
        return budget.steps
    batch_size = batch_size_of(workload, num_train_examples)
    if budget.tokens is not None:
        return -(-budget.tokens // (batch_size * tokens_per_example(workload)))
    examples = budget.examples if budget.examples is not None else (budget.epochs or 0) * num_train_examples
    return -(-examples // batch_size)


def steps_known(workload: Workload) -> int | None:
    """The budget in updates where it does not depend on the data; else None."""
    if isinstance(workload, Analytic) or workload.budget.steps is not None:
        return workload.budget.steps
    if workload.budget.epochs is not None or workload.batch_size == "full":
        return None
    return steps_of(workload, 1)


def tokens_per_example(workload: Workload) -> int:
    """Positions that the loss of one example is a mean over: the window of a text, else 1."""
    return workload.context if isinstance(workload, LanguageModel) else 1


def batch_size_of(workload: Workload, num_train_examples: int) -> int:
    """Examples per update, over all its accumulated batches; 1 for an analytic function."""
    if isinstance(workload, Analytic):
        return 1
    if workload.batch_size == "full":
        return num_train_examples
    return workload.batch_size * workload.accumulation


@dataclass(frozen=True)
class TrialResult:
    """What a trainer says of one member when it is final; every number may be NaN or infinite."""

    trial_id: str
    outcome: Outcome
    reason: str
    """Why it ended: `budget`, `stop`, `non_finite_loss`, `non_finite_parameters`, `divergence_factor`."""
    outcome_step: int | None
    """For `diverged`, the step at which it was seen; for a stop, the row that met it; else None."""
    last_finite_loss: float
    steps_completed: int
    warmup_steps: int | None
    """Resolved, or realised for a closed loop (None: the run ended inside its warmup)."""
    start_loss: float
    reference_loss: float
    final: Mapping[str, float]
    """train_loss, train_eval_loss, validation_loss, validation_accuracy, test_loss, test_accuracy (NaN where none)."""
    best: Mapping[str, float]
    """train_loss, train_eval_loss, validation_loss, validation_accuracy."""
    max_loss: float
    max_lr_applied: float
    gradients: float
    """Training and probe gradients, in units of one training-batch gradient."""
    hvps: int
    peak_lr: float | None = None
    """The rate, where the trial states a multiple: NaN where the start has no positive sharpness. Else None."""
    forward_passes: int = 0
    """Losses that its closed loop asked for beyond training's own: a third of a gradient each, counted above."""


class ExecutionFacts(Spec):
    """What decides the bits of a number besides its spec."""

    torch_version: str
    device_class: str
    """`cpu`, or the GPU's model name."""
    cpu_capability: str | None = None
    cuda_version: str | None = None
    intra_op_threads: PositiveInt = 1
    pack_size: PositiveInt = 1

    @property
    def execution_id(self) -> str:
        """SHA-256 (64 hex) of these facts."""
        return content_hash(self.model_dump())
