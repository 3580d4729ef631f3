"""The one training loop: a pack of trials, stacked on a leading axis, step by step on the device.

Row k is what stands at the parameters after k updates: loss and gradient norm there, the rate and the norm of the
update made from there. Nothing in a chunk waits for the device: rows gather in preallocated tensors and are copied
once.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workers.science.optimizers import PackHyperparameters
from workers.science.optimizers.hyperparameters import OptimizerSpec
from workers.science.own.optimizers import TorchOptimizer
from workers.science.probing import PackProbes, Reading
from workers.science.problem import Problem
from workers.science.protocols import Batch, State
from workers.science.rates import PackRates, UpdateRow
from workers.science.registry import build_optimizer
from workers.science.step_bounds import StepBounds

ROW = ("train_loss", "gradient_norm", "update_norm", "parameter_sum")
CLIP_EPSILON = 1e-6
"""torch.nn.utils.clip_grad_norm_ divides by the norm plus this."""
BLOCK_BYTES = 2**19
"""Of one [n, P] matrix that the update works on at once on a CPU: five such matrices stay in the second-level cache."""
WORD = {torch.float32: torch.int32, torch.float64: torch.int64}


@dataclass
class Rows:
    """A chunk on the host: values float64 [T, N] by name, the rate and who was still training at each row."""

    first_step: int
    values: dict[str, NDArray[np.float64]]
    lr: NDArray[np.float64]
    alive: NDArray[np.bool_]
    evaluations: dict[int, NDArray[np.float64]] = field(default_factory=dict)
    """Step -> [3, N] as evaluation.COLUMNS."""
    readings: list[tuple[Reading, NDArray[np.float64]]] = field(default_factory=list)

    def followed_by(self, others: "Rows") -> "Rows":
        """These rows and `others` after them."""
        return Rows(
            first_step=self.first_step,
            values={name: np.concatenate((self.values[name], others.values[name])) for name in self.values},
            lr=np.concatenate((self.lr, others.lr)),
            alive=np.concatenate((self.alive, others.alive)),
            evaluations=self.evaluations | others.evaluations,
            readings=self.readings + others.readings,
        )


class TrainingLoop:
    """Parameters, optimizer state and masks of a pack, and the step that moves them.

    A trial that is over (diverged, or at its stop) stays in its slot: its update is set to 0 by a mask on the device,
    its parameters freeze, and its neighbours, who share no operation with it, get the bits they would have got anyway.
    """

    def __init__(
        self,
        problem: Problem,
        optimizers: Sequence[OptimizerSpec],
        rates: PackRates,
        probes: PackProbes,
        is_member: Sequence[bool],
    ) -> None:
        self._problem = problem
        self._rates = rates
        self._probes = probes
        start_NP = problem.start_NP
        self.params_NP = start_NP.clone()
        # what is evaluated: the parameters themselves, or their average
        self._average_NP = start_NP.clone() if problem.average_decay is not None else None
        hyperparameters = PackHyperparameters(
            optimizers, start_NP.dtype, start_NP.device, problem.lr_multiplier_P, problem.layout
        )
        self._optimizer = build_optimizer(optimizers[0].kind, hyperparameters)
        self.optimizer_state: State = self._optimizer.init(self.params_NP)
        self.bounds = _step_bounds(self.optimizer_state, hyperparameters)
        self.alive_N = torch.tensor(is_member, device=start_NP.device)
        self._largest = torch.finfo(start_NP.dtype).max
        least = [rates.least_start_loss.get(slot, -torch.inf) for slot in range(len(start_NP))]
        self._least_start_loss_N = torch.tensor(least, dtype=torch.float64, device=start_NP.device)
        # the first row sets it where the workload has a divergence factor
        self.loss_limit_N = torch.full_like(start_NP[:, 0], self._largest)
        self._block_rows = _block_rows(start_NP)
        self._update_nP = torch.empty_like(start_NP[: self._block_rows])
        self.seconds = {"train": 0.0, "evaluate": 0.0}

    def run(self, first: int, last: int) -> Rows:
        """Makes updates first ... last - 1 and returns their rows."""
        began, others = time.perf_counter(), self._other_seconds()
        num_rows, num_slots = last - first, len(self.params_NP)
        values = self.params_NP.new_empty(num_rows, len(ROW), num_slots)
        lr = self.params_NP.new_empty(num_rows, num_slots, dtype=torch.float64)
        alive = self.alive_N.new_empty(num_rows, num_slots)
        evaluations: dict[int, Tensor] = {}
        parameter_sum_N = self.parameter_sums()
        batches, rates = self._problem.batches.steps(first, last), self._rates.steps(first, last)
        for row, (batch, lr_N) in enumerate(zip(batches, rates, strict=True)):
            step = first + row
            if self._problem.evaluator is not None and step % self._problem.evaluate_every_steps == 0:
                evaluations[step] = self._evaluate()
            parameter_sum_N = self._step(step, batch, lr_N, parameter_sum_N, values[row])
            lr[row].copy_(self.optimizer_state["lr"])
            alive[row].copy_(self.alive_N)
        rows = self._to_host(first, values, lr, alive, evaluations)
        self.seconds["train"] += time.perf_counter() - began - (self._other_seconds() - others)
        return rows

    def look(self, step: int) -> Rows:
        """The row at the end of a run: loss and gradient norm where the run ends, and no update."""
        batch = next(iter(self._problem.batches.steps(step, step + 1)))
        loss_N, grads_NP = self._problem.training_objective.loss_and_grad(self._evaluation_point(), batch)
        parameter_sum_N = self.parameter_sums()
        self._mask(step, loss_N, parameter_sum_N)
        norm_N = torch.linalg.vector_norm(grads_NP, dim=1)
        values = torch.stack((loss_N, norm_N, torch.full_like(loss_N, torch.nan), parameter_sum_N))
        lr = torch.full_like(self.optimizer_state["lr"], torch.nan)
        return self._to_host(step, values.unsqueeze(0), lr.unsqueeze(0), self.alive_N.unsqueeze(0), {})

    def last_readings(self, step: int) -> list[tuple[Reading, NDArray[np.float64]]]:
        """The probes due at the end of the run, at the present parameters."""
        lr_N = torch.full_like(self.optimizer_state["lr"], torch.nan)
        self._probes.before(step, self.params_NP, lr_N, self.alive_N)
        return self._readings_to_host()

    def final_evaluation(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """[3, N] as evaluation.COLUMNS and [2, N] on the test set, where the run ends."""
        assert self._problem.evaluator is not None
        evaluated = self._evaluate()
        began = time.perf_counter()
        tested = self._problem.evaluator.read_test(self._evaluation_point())
        arrays = evaluated.double().cpu().numpy(), tested.double().cpu().numpy()
        self.seconds["evaluate"] += time.perf_counter() - began
        return arrays

    def state(self) -> State:
        """Everything that the next step depends on, by name; the rates' and the probes' memory is theirs to give."""
        moments = {f"optimizer.{name}": tensor for name, tensor in self.optimizer_state.items()}
        average = {} if self._average_NP is None else {"average": self._average_NP}
        own = {f"own.{name}": tensor for name, tensor in self._own_state().items()}
        bounds = {} if self.bounds is None else {f"bounds.{name}": each for name, each in self.bounds.state.items()}
        moved = {**average, **moments, **own, **bounds}
        return {"params": self.params_NP, "alive": self.alive_N, "loss_limit": self.loss_limit_N, **moved}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Puts back what `state` gave."""
        self.params_NP = state["params"]
        if self._average_NP is not None:
            self._average_NP = state["average"]
        self.alive_N = state["alive"]
        self.loss_limit_N = state["loss_limit"]
        self.optimizer_state = {name: state[f"optimizer.{name}"] for name in self.optimizer_state}
        if self.bounds is not None:
            self.bounds.load_state({name: state[f"bounds.{name}"] for name in self.bounds.state})
        own = {name.removeprefix("own."): tensor for name, tensor in state.items() if name.startswith("own.")}
        if self._problem.alone is not None:
            of_model = {name: tensor for name, tensor in own.items() if name.startswith("model.")}
            self._problem.alone.load_state({name.removeprefix("model."): each for name, each in of_model.items()})
        if isinstance(self._optimizer, TorchOptimizer):
            self._optimizer.restore({name.removeprefix("optimizer."): tensor for name, tensor in own.items()})

    def _own_state(self) -> State:
        """What the user's own model and optimizer keep, by name."""
        alone, optimizer = self._problem.alone, self._optimizer
        model = {} if alone is None else {f"model.{name}": tensor for name, tensor in alone.state().items()}
        if isinstance(optimizer, TorchOptimizer):
            model |= {f"optimizer.{name}": tensor for name, tensor in optimizer.export().items()}
        return model

    def _step(self, step: int, batch: Batch, lr_N: Tensor, parameter_sum_N: Tensor, out_row: Tensor) -> Tensor:
        """Makes update `step`, writes its row, and returns the sums [N] of the new parameters."""
        objective = self._problem.training_objective
        loss_N, grads_NP = objective.loss_and_grad(self.params_NP, batch)
        self._mask(step, loss_N, parameter_sum_N)
        after, at = partial(self._loss_after, grads_NP, batch), partial(self._loss_at, batch)
        self._rates.close(step, UpdateRow(loss_N, self.alive_N, self.params_NP, grads_NP, after, at), lr_N)
        self.optimizer_state["lr"].copy_(lr_N)
        self._probes.before(step, self.params_NP, lr_N, self.alive_N)
        saved = self._probes.save(step, self.params_NP)
        norm_N, update_norm_N, next_sum_N = self._update(grads_NP)
        if self.bounds is not None:
            self.bounds.take(self.optimizer_state["bound"], self.alive_N)
        self._average(step)
        self._probes.after(step, saved, self.params_NP, lr_N, self.alive_N, self._preconditioner)
        torch.stack((loss_N, norm_N, update_norm_N, parameter_sum_N), out=out_row)
        return next_sum_N

    def _loss_after(self, grads_NP: Tensor, batch: Batch, lr_N: Tensor, index_n: Tensor) -> Tensor:
        """Losses [n] on `batch` after an update at `lr_N` [N], made on copies."""
        state = {name: tensor.clone() for name, tensor in self.optimizer_state.items()}
        state["lr"].copy_(lr_N)
        coefficients = self._optimizer.coefficients(state)
        grads_NP, update_NP = grads_NP.clone(), torch.empty_like(grads_NP)
        if self._problem.gradient_clip_norm is not None:
            norm_N = torch.linalg.vector_norm(grads_NP, dim=1)
            grads_NP.mul_((self._problem.gradient_clip_norm / (norm_N + CLIP_EPSILON)).clamp(max=1.0).unsqueeze(1))
        self._optimizer.update(grads_NP, state, self.params_NP, coefficients, update_NP)
        return self._loss_at(batch, (self.params_NP + update_NP).index_select(0, index_n), index_n)

    def _loss_at(self, batch: Batch, params_nP: Tensor, index_n: Tensor) -> Tensor:
        return self._problem.training_objective.loss(params_nP, batch.select(index_n))

    def _mask(self, step: int, loss_N: Tensor, parameter_sum_N: Tensor) -> None:
        """Ends the trials whose row says so: not finite, too large, at their stop, or a start below its optimum."""
        problem = self._problem
        if step == 0 and problem.divergence_factor is not None:
            limit_N = problem.divergence_factor * loss_N.clamp(min=1.0)
            self.loss_limit_N = limit_N.clamp(max=self._largest)
        if step == 0:
            self.alive_N &= loss_N.double() >= self._least_start_loss_N
        # comparisons are false for NaN; a finite sum means finite parameters
        self.alive_N &= loss_N.abs() <= self.loss_limit_N
        self.alive_N &= parameter_sum_N.abs() <= self._largest
        if problem.stop_gap is not None and problem.optimum is not None:
            self.alive_N &= (loss_N - problem.optimum) > problem.stop_gap

    def _update(self, grads_NP: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gradient norms before clipping, update norms, and sums of the new parameters, each [N]."""
        coefficients = self._optimizer.coefficients(self.optimizer_state)
        word = WORD[grads_NP.dtype]
        mask_N1 = self.alive_N.to(word).neg_().unsqueeze(1)  # all bits set where a trial is still training
        norms: list[tuple[Tensor, Tensor, Tensor]] = []
        for begin in range(0, len(grads_NP), self._block_rows):
            rows = slice(begin, begin + self._block_rows)
            grads_nP, params_nP = grads_NP[rows], self.params_NP[rows]
            norm_n = torch.linalg.vector_norm(grads_nP, dim=1)
            if self._problem.gradient_clip_norm is not None:
                grads_nP.mul_((self._problem.gradient_clip_norm / (norm_n + CLIP_EPSILON)).clamp(max=1.0).unsqueeze(1))
            update_nP = self._update_nP[: len(grads_nP)]
            state = {name: tensor[rows] for name, tensor in self.optimizer_state.items()}
            self._optimizer.update(grads_nP, state, params_nP, [column[rows] for column in coefficients], update_nP)
            # Not torch.where, which is five times slower on a CPU: the same selection on the bits of the numbers.
            update_nP.view(word).bitwise_and_(mask_N1[rows])
            params_nP.add_(update_nP)
            norms.append((norm_n, torch.linalg.vector_norm(update_nP, dim=1), params_nP.sum(dim=1)))
        return tuple(torch.cat(column) for column in zip(*norms, strict=True))  # type: ignore[return-value]

    def _preconditioner(self) -> Tensor | None:
        """[N, P] of the update just made, with mup's factors on the rate in it; None: 1."""
        found_NP = self._optimizer.preconditioner(self.optimizer_state)
        factor_P = self._problem.lr_multiplier_P
        if factor_P is None:
            return found_NP
        return (1 / factor_P).expand_as(self.params_NP) if found_NP is None else found_NP / factor_P

    def _average(self, step: int) -> None:
        """Takes the parameters after update `step` into the average; the one of a trial that is over stays."""
        if self._average_NP is None:
            return
        assert self._problem.average_decay is not None
        weight = 1.0 - self._problem.average_decay if step > 0 else 1.0
        averaged_NP = torch.lerp(self._average_NP, self.params_NP, weight)
        self._average_NP = torch.where(self.alive_N.unsqueeze(1), averaged_NP, self._average_NP)

    def parameter_sums(self) -> Tensor:
        """[N]: finite where all of a trial's parameters are."""
        return torch.cat([rows_nP.sum(dim=1) for rows_nP in torch.split(self.params_NP, self._block_rows)])

    def _evaluate(self) -> Tensor:
        assert self._problem.evaluator is not None
        began = time.perf_counter()
        read = self._problem.evaluator.read(self._evaluation_point())
        self.seconds["evaluate"] += time.perf_counter() - began
        return read

    def _evaluation_point(self) -> Tensor:
        """The average, or what the optimizer answers with; of a trial that is over, the parameters it froze at."""
        if self._average_NP is not None:
            return self._average_NP
        point_NP = self._optimizer.evaluation_point(self.optimizer_state, self.params_NP)
        if point_NP is self.params_NP:
            return point_NP
        return torch.where(self.alive_N.unsqueeze(1), point_NP, self.params_NP)

    def _other_seconds(self) -> float:
        return self.seconds["evaluate"] + sum(self._probes.seconds.values())

    def _to_host(
        self, first: int, values: Tensor, lr: Tensor, alive: Tensor, evaluations: Mapping[int, Tensor]
    ) -> Rows:
        columns = values.double().cpu().numpy()
        return Rows(
            first_step=first,
            values={name: columns[:, i] for i, name in enumerate(ROW)},
            lr=lr.cpu().numpy(),
            alive=alive.cpu().numpy(),
            evaluations={step: read.double().cpu().numpy() for step, read in evaluations.items()},
            readings=self._readings_to_host(),
        )

    def _readings_to_host(self) -> list[tuple[Reading, NDArray[np.float64]]]:
        readings, self._probes.readings = self._probes.readings, []
        return [(reading, reading.values.cpu().numpy()) for reading in readings]


def _step_bounds(optimizer_state: State, hyperparameters: PackHyperparameters) -> StepBounds | None:
    """Of an optimizer that bounds the steps of weight matrices, where there are any."""
    bound_NL = optimizer_state.get("bound")
    if bound_NL is None or not bound_NL.shape[1]:
        return None
    return StepBounds([layer.name for layer in hyperparameters.layers("matrices")], bound_NL)


def _block_rows(params_NP: Tensor) -> int:
    num_slots, num_parameters = params_NP.shape
    if params_NP.device.type != "cpu":
        return num_slots
    return min(num_slots, max(1, BLOCK_BYTES // (num_parameters * params_NP.element_size())))
