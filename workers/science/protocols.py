"""What the parts of the science promise each other: the only file to read before adding one.

Letters in names: N trials of a pack (n: some of them), P parameters of one trial, B batch, C classes, T steps.
Everything that touches a pack is batched over its leading axis, elementwise between trials, and never syncs the host
(probes and rules that search alone may, where an iteration must know that it can stop).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import torch
from numpy.typing import NDArray
from torch import Tensor

from schemas.schedules import Optimum
from schemas.workloads import Start

State = dict[str, Tensor]
"""Named tensors with the leading axis N: what a checkpoint must hold of a part."""


@dataclass(frozen=True)
class Batch:
    """What a loss is taken on: `tensors` go to the loss after the parameters.

    `stacked`: each tensor has a leading axis N, one batch per trial; else all trials share it. An analytic function has
    no tensors, but for a label or for noise.
    """

    tensors: tuple[Tensor, ...] = ()
    stacked: bool = False
    size: int = 1
    """Examples per trial."""

    def select(self, index_n: Tensor) -> "Batch":
        """The batch of some trials of the pack."""
        if not self.stacked:
            return self
        return Batch(tuple(tensor.index_select(0, index_n) for tensor in self.tensors), True, self.size)


class TrainingObjective(Protocol):
    """What the loop asks of a loss: values and gradients on its batches, under the recipe's precision."""

    def loss(self, params_NP: Tensor, batch: Batch) -> Tensor:
        """Losses [N]: one forward pass each."""

    def loss_and_grad(self, params_NP: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Losses [N] and gradients [N, P]: one gradient each."""


class Objective(TrainingObjective, Protocol):
    """The loss of a pack as a function of its flat parameters: what training and probes differentiate.

    The leading axis may be any n >= 1 trials. Nothing here changes its arguments or draws a random number.
    """

    num_parameters: int

    def hvp(self, params_NP: Tensor, batch: Batch, vectors_NP: Tensor) -> Tensor:
        """Hessian-vector products [N, P], exact (forward over reverse): two gradients' worth each."""

    def hvp_at(self, params_NP: Tensor, batch: Batch) -> "Product":
        """`hvp` at one place, whose tensors stay as they are, for as many vectors as are asked: the same bits.

        The part that no vector changes may be computed once and kept.
        """

    def gauss_newton_at(self, params_NP: Tensor, batch: Batch) -> "Product":
        """Products with J^T L J, J the outputs' Jacobian, L the loss's Hessian in them: as dear as an HVP.

        An analytic function, which has no outputs, has none (refused before: schemas.probe_checks).
        """


class Product(Protocol):
    """A symmetric operator of each of N members."""

    def __call__(self, vectors_NP: Tensor, /) -> Tensor:
        """Products [N, P]."""


class Model(Protocol):
    """A stateless network, built from its spec, the shape of one example and the number of classes."""

    @property
    def activations(self) -> int:
        """Values of its widest hidden layer, of one example: what an evaluation is cut into pieces by."""

    def init(self, generator: torch.Generator, dtype: torch.dtype) -> dict[str, Tensor]:
        """One trial's parameters, on the CPU, in a fixed order."""

    def apply(self, params: dict[str, Tensor], inputs: Tensor, key: Tensor | None = None) -> Tensor:
        """Outputs [B, C], of windows [B, T, C], of one trial for inputs [B, ...]; runs under torch.func.vmap.

        `key`: int64 scalar from which a model with dropout makes its masks; None: no dropout.
        """

    def lr_multipliers(self, optimizer_kind: str) -> dict[str, float]:
        """Factor on the learning rate by parameter name: all 1.0 in the standard parametrization."""


class Loss(Protocol):
    """Mean loss of one trial's batch."""

    def __call__(self, outputs_BC: Tensor, targets_B: Tensor) -> Tensor:
        """A scalar; in nats where it is a likelihood."""

    def constant_answer(self, targets_n: Tensor, num_classes: int) -> float:
        """Loss of the best constant answer on these targets: what a model must beat not to be stalled."""


class Function(Protocol):
    """An analytic function whose constants are known, built from its spec (workers/science/functions)."""

    @property
    def num_parameters(self) -> int:
        """P."""

    @property
    def optimum(self) -> float | None:
        """The infimum; None where there is none, and then no gap."""

    def value(self, params_P: Tensor) -> Tensor:
        """f(w), a scalar; runs under vmap, grad and jvp: branches are torch.where."""

    def hessian_norm(self, params_P: Tensor) -> Tensor:
        """||Hessian|| in closed form, a scalar: what probes are checked against; runs under vmap."""

    def start(self, start: Start) -> Tensor:
        """The starting point [P] in float64. Raises ValueError where the form does not fit the function."""


@runtime_checkable
class SeededFunction(Function, Protocol):
    """One whose start and labels are random: where it starts no `start` can say."""

    def draw_start(self, stream: torch.Generator) -> Tensor:
        """The starting point [P] in float64, from the seed's initialization."""


class Optimizer(Protocol):
    """An update rule over the flat matrix [N, P]; hyperparameters that differ inside the pack are [N, 1] columns.

    The state holds "lr" [N] in float64: an update uses what stands there, and what stands there is what is recorded.
    Rows are trials and never meet in `update`, so the loop may call it on some rows at a time (the matrices then stay
    in the cache). Within a row a rule may tell layers apart: it is built with the layout of the parameters
    (PackHyperparameters.layers), and takes norms or singular values of a layer's columns.
    """

    def init(self, params_NP: Tensor) -> State:
        """The state before the first update."""

    def coefficients(self, state: State) -> tuple[Tensor, ...]:
        """The columns [N, 1] of the update about to be made, from "lr"; counts the update. Once a step."""

    def update(
        self, grads_NP: Tensor, state: State, params_NP: Tensor, coefficients: Sequence[Tensor], out_NP: Tensor
    ) -> None:
        """Writes what is to be added to the parameters to `out_NP`; changes the state in place, never the parameters.

        All arguments hold the same rows. `grads_NP` may be used as scratch.
        """

    def evaluation_point(self, state: State, params_NP: Tensor) -> Tensor:
        """Where evaluations and the end of the run are read, [N, P]: `params_NP` itself, but for rules that average.

        What the loop holds is always the point where gradients are taken: rows of steps and probes are read there.
        """

    def preconditioner(self, state: State) -> Tensor | None:
        """[N, P] of the update last made; None means the identity (or that there is none, where the threshold is
        NaN)."""

    def stability_threshold(self, lr_N: Tensor) -> Tensor:
        """Sharpness [N], preconditioned, above which training at this rate is unstable (sgd (2+2b)/lr; adam
        (2+2b1)/((1-b1) lr)); NaN where a rule has none."""


Observation = dict[str, Tensor]
"""What a closed loop may read, each [n]: "loss", the training batch's at the present parameters; "peak_lr" in float64;
"alive"; where it `needs_params`, "params" [n, P]; and where it `needs_gradient_norm`, "gradient_norm" of that batch in
float64, before clipping."""

LossAfter = Callable[[Tensor, Tensor], Tensor]
"""(rates [n], which members ask [n]) -> losses [n] after an update at these rates."""


@dataclass(frozen=True)
class Evaluate:
    """Losses [n] of the present batch beyond training's own: a forward pass each, counted for the members who ask.

    Parameters, optimizer state and random streams stay as they are.
    """

    after: LossAfter
    """After an update at these rates, which is tried and taken back."""
    at: Callable[[Tensor, Tensor], Tensor]
    """(parameters [n, P], which members ask [n]) -> losses [n]."""


Search = tuple[int, float, int]
"""Member, the rate that a search found, its forward passes."""


class ClosedLoopRule(Protocol):
    """A learning rate found from the loss while training. One instance serves n members that share its spec.

    The loop applies min(peak_lr, rate), latches, lets the decay follow, and records the realised length: a rule only
    says its rate, `scale` included. Its state is checkpointed; a key "gap_clamped" (int64 [n]) counts the times a
    negative gap was set to 0.
    """

    optimum: Optimum | None
    needs_gradient_norm: bool
    needs_params: bool
    searches: list[Search]
    """Those of the updates since it was last emptied: the loop tells them as events."""

    def init(self, n: int, dtype: torch.dtype, device: torch.device) -> State:
        """The state before the first update."""

    def next(self, state: State, observation: Observation, evaluate: Evaluate) -> tuple[Tensor, State]:
        """The rates [n] of the updates about to be made, and the next state (new tensors or the same ones)."""


@dataclass(frozen=True)
class ProbeRequest:
    """One call of a probe: n members of the pack that have a point at this step. Tensors are copies, free to use."""

    objective: Objective
    batches: tuple[Batch, ...]
    """The fixed probe batches (`spec.batch.count` of them), shared by all trials (`stacked` False)."""
    params_nP: Tensor
    """w_k"""
    next_params_nP: Tensor | None
    """w_{k+1}, for a probe with `needs_next`."""
    lr_n: Tensor
    """float64, the rate of the update made from here."""
    hvps_left_n: Tensor
    """int64: what each member may still spend on this probe; a probe adds what it spent to its reading, the loop
    subtracts."""
    points_left_n: Tensor
    """int64: points of this probe that each member still has to come, this one not counted: a probe that shares
    `hvps_left_n` between its points leaves them something."""
    alive_n: Tensor
    """bool: a member that is over needs no answer, and must not keep the others waiting."""
    step: int
    """k: with the probe's name, what its random directions are drawn from."""
    preconditioner_nP: Tensor | None = None
    """P of update k, whose step without momentum is -lr g / P, for a probe with `needs_preconditioner`; None: 1."""


@dataclass(frozen=True)
class ProbeReading:
    """What a probe found, each [n] on the device: columns of the table `probes`; NaN where one has no meaning."""

    value: Tensor
    error: Tensor
    lower: Tensor
    upper: Tensor
    converged: Tensor
    num_gradients: Tensor
    num_hvps: Tensor
    loss: Tensor
    gradient_norm: Tensor
    step_norm: Tensor
    points: "Mapping[str, ProbeReading]" = field(default_factory=dict)
    """Where a probe reads several points: the row of each, written as `name.point` in the place of this one, which then
    says what all of them cost."""


@runtime_checkable
class Probe(Protocol):
    """A measurement along training. Built from its spec; everything it remembers is in its state."""

    name: str
    needs_next: bool
    """True: measured after the update, with w_k and w_{k+1} (a secant); False: with w_k alone."""
    needs_preconditioner: bool
    """Whether it is given the preconditioner of update k; asks for `needs_next`, as the update makes it."""

    def init(self, n: int, num_parameters: int, dtype: torch.dtype, device: torch.device) -> State:
        """The state of n members, leading axis n: warm vectors, for instance. May be empty."""

    def measure(self, request: ProbeRequest, state: State) -> tuple[ProbeReading, State]:
        """Reads n members. `state` is theirs alone (leading axis n); the loop puts the new one back into the pack's."""


Table = dict[str, NDArray[Any]]
"""Column name -> 1-D array, in the order of schemas.records."""


@dataclass
class ChunkColumns:
    """What a chunk of steps came to: rows by table, columns as in schemas.records, sorted by trial and step."""

    first_step: int
    last_step: int
    """The last step that has been made a row of."""
    tables: dict[str, Table] = field(default_factory=dict)


TrialLoss = Callable[..., Tensor]
"""(params_P, *batch tensors of one trial) -> scalar."""

Batches = Sequence[Batch]
