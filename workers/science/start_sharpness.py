"""The sharpness where a trial starts, in whose units its peak learning rate is stated (`peak_lrs.relative_to`)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from schemas.base import canonical_json, without_defaults
from schemas.learning_rates import START_BATCHES, RelativeTo
from schemas.probes import ProbeBatch, Sharpness
from schemas.trials import TrialSpec
from schemas.workloads import Analytic
from workers.science.optimizers import PackHyperparameters
from workers.science.probes.sharpness import SharpnessProbe
from workers.science.problem import Problem
from workers.science.protocols import Batch, Objective, ProbeRequest, Product
from workers.science.registry import build_optimizer

TOLERANCE = 1e-3
"""Of the residual; the eigenvalue itself is then known to about its square."""
MAX_HVPS = 200
"""Of one batch: whoever has not converged by then has no unit."""


@dataclass(frozen=True)
class StartSharpness:
    """lambda_0 of one trial: mean, lowest and highest over the batches; NaN, or not above 0, where there is none."""

    value: float
    lower: float
    upper: float
    converged: bool
    num_gradients: int
    num_hvps: int

    @property
    def is_unit(self) -> bool:
        """Whether 1/lambda_0 can be the unit of a rate."""
        return self.converged and 0.0 < self.value < float("inf")

    def peak_lr(self, multiple: float) -> float:
        """multiple / lambda_0; NaN where there is no unit."""
        return multiple / self.value if self.is_unit else float("nan")


_known: dict[bytes, StartSharpness] = {}
_MOST_KNOWN = 4096


def start_sharpness(problem: Problem, trials: Sequence[TrialSpec]) -> list[StartSharpness | None]:
    """One per slot; None where the rate is stated directly.

    Each start is measured alone, whatever trains beside it: so its bits, and with them the rate's, do not hang on the
    pack. A process measures each start once and remembers it, for the many trials that share it; what it cost is
    counted for each of them.
    """
    return [None if trial.relative_to is None else _of_trial(problem, trial, trial.relative_to) for trial in trials]


def _of_trial(problem: Problem, trial: TrialSpec, unit: RelativeTo) -> StartSharpness:
    own = trial.seed.initialization
    seed = own if unit.scope == "trial" or trial.first_initialization is None else trial.first_initialization
    key = _key(trial, unit, seed, problem)
    if key not in _known:
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        _known[key] = _measure(problem, trial, unit, problem.start_of(seed).unsqueeze(0))
    return _known[key]


def _key(trial: TrialSpec, unit: RelativeTo, seed: int, problem: Problem) -> bytes:
    said = {
        "workload": without_defaults(trial.workload),
        "optimizer": without_defaults(trial.optimizer),
        "plugins": [source.model_dump() for source in trial.plugins],
        "data": trial.dataset_sha256 or (problem.data.sha256 if problem.data is not None else None),
        "quantity": unit.quantity,
        "seed": seed,
        "device": str(problem.start_NP.device),
    }
    return canonical_json(said)


def _measure(problem: Problem, trial: TrialSpec, unit: RelativeTo, start_1P: Tensor) -> StartSharpness:
    batches = _batches(problem, trial)
    spec = Sharpness(
        name="start",
        kind="sharpness",
        every_steps=1,
        relative_tolerance=TOLERANCE,
        max_hvps=MAX_HVPS,
        batch=ProbeBatch(count=len(batches)),
    )
    probe = SharpnessProbe(spec)
    device = start_1P.device
    objective: Objective = problem.objective
    if unit.quantity == "preconditioned_sharpness":
        objective = PreconditionedObjective(problem, trial)
    request = ProbeRequest(
        objective=objective,
        batches=batches,
        params_nP=start_1P,
        next_params_nP=None,
        lr_n=torch.full((1,), torch.nan, dtype=torch.float64, device=device),
        hvps_left_n=torch.full((1,), MAX_HVPS * len(batches), dtype=torch.int64, device=device),
        points_left_n=torch.zeros(1, dtype=torch.int64, device=device),
        alive_n=torch.ones(1, dtype=torch.bool, device=device),
        step=0,
    )
    reading, _ = probe.measure(request, probe.init(1, start_1P.shape[1], start_1P.dtype, device))
    return StartSharpness(
        value=reading.value.item(),
        lower=reading.lower.item(),
        upper=reading.upper.item(),
        converged=bool(reading.converged.item()),
        num_gradients=int(reading.num_gradients.item()),
        num_hvps=int(reading.num_hvps.item()),
    )


def _batches(problem: Problem, trial: TrialSpec) -> tuple[Batch, ...]:
    """Fixed batches of the training's size; one where all would be the same."""
    workload = trial.workload
    is_one = isinstance(workload, Analytic) or workload.batch_size == "full"
    batch = ProbeBatch(count=1 if is_one else START_BATCHES)
    return problem.probe_batches(Sharpness(name="start", kind="sharpness", every_steps=1, batch=batch)).batches


class PreconditionedObjective:
    """An objective whose Hessian is P^-1/2 H P^-1/2, P of the first update from the gradient last asked for.

    What the probe `preconditioned_sharpness` reads at step 0, but for the gradient in P: here that of the batch on
    which H is taken, there that of the training batch.

    The symmetric form has the eigenvalues of P^-1 H (arXiv 2406.09405 has those), and Lanczos needs the symmetry.
    """

    def __init__(self, problem: Problem, trial: TrialSpec) -> None:
        self._objective = problem.objective
        self.num_parameters = self._objective.num_parameters
        self._problem, self._trial = problem, trial
        self._scale_P: Tensor | None = None

    def loss(self, params_NP: Tensor, batch: Batch) -> Tensor:
        """Losses [N]: as they are."""
        return self._objective.loss(params_NP, batch)

    def loss_and_grad(self, params_NP: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Losses and gradients as they are; P of the update that would be made from these is kept."""
        loss_N, grads_NP = self._objective.loss_and_grad(params_NP, batch)
        self._scale_P = self._inverse_root(params_NP, grads_NP)
        return loss_N, grads_NP

    def hvp(self, params_NP: Tensor, batch: Batch, vectors_NP: Tensor) -> Tensor:
        """P^-1/2 H P^-1/2 v."""
        return self.hvp_at(params_NP, batch)(vectors_NP)

    def hvp_at(self, params_NP: Tensor, batch: Batch) -> Product:
        """v -> P^-1/2 H P^-1/2 v, with the P of now."""
        hessian, scale_P = self._objective.hvp_at(params_NP, batch), self._scale_P
        return hessian if scale_P is None else lambda vectors_NP: scale_P * hessian(scale_P * vectors_NP)

    def gauss_newton_at(self, params_NP: Tensor, batch: Batch) -> Product:
        """As it is: nothing is asked of it here."""
        return self._objective.gauss_newton_at(params_NP, batch)

    def _inverse_root(self, params_NP: Tensor, grads_NP: Tensor) -> Tensor | None:
        problem, start_NP = self._problem, params_NP
        hyperparameters = PackHyperparameters(
            [self._trial.optimizer], start_NP.dtype, start_NP.device, problem.lr_multiplier_P, problem.layout
        )
        optimizer = build_optimizer(self._trial.optimizer.kind, hyperparameters)
        state = optimizer.init(start_NP.clone())
        state["lr"].fill_(1.0)
        coefficients = optimizer.coefficients(state)
        # an update may use its gradients as scratch
        optimizer.update(grads_NP.clone(), state, start_NP, coefficients, torch.empty_like(start_NP))
        preconditioner_NP, factor_P = optimizer.preconditioner(state), problem.lr_multiplier_P
        # mup's factors on the rate are part of P, as in the probe of this name (`TrainingLoop._preconditioner`)
        if factor_P is not None:
            preconditioner_NP = (1.0 if preconditioner_NP is None else preconditioner_NP) / factor_P
            preconditioner_NP = torch.as_tensor(preconditioner_NP).expand_as(start_NP)
        return None if preconditioner_NP is None else preconditioner_NP.rsqrt()
