"""How good and how cheap the sharpness probe is on real training: its values against eigsh, its HVPs by cadence.

Trains the digits MLP (64-128-128-10, tanh, batch 64) with sgd (momentum 0.9) and adamw at six rates each, the largest
of them beyond the edge of stability; measures every 10 and every 100 steps as a study would (defaults: tolerance 0.01,
at most 24 HVPs); compares every point with scipy's eigsh at 1e-8 on the same batch and parameters, in float64.

Where that differs by more than 1 %, eigsh is asked again with the float32 products that the probe itself works with: a
trial beyond the edge saturates (loss of 100 nats, sharpness of 1e-5), and float32 then rounds the Hessian itself by
more than the tolerance. Such points count as rounding of the network, not of the estimate, and the share that agrees
with float64 stands beside.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor

from schemas.probes import Sharpness
from schemas.workloads import MLP, CrossEntropy, Digits
from workers.data.sets import load
from workers.science.objective import PackObjective
from workers.science.parameters import Layout
from workers.science.probes.fixed_batches import probe_batches
from workers.science.protocols import Batch, ProbeRequest
from workers.science.registry import build_loss, build_model, build_probe
from workers.science.streams import generator

SGD_RATES = (3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 6e-1)
ADAMW_RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
RATES = SGD_RATES + ADAMW_RATES
NUM_STEPS = 400
BATCH_SIZE = 64
FINE_CADENCE, COARSE_CADENCE = 10, 100
ALLOWED = {"median_hvps_every_10": 5.0, "median_hvps_every_100": 8.0}


@dataclass(frozen=True)
class Training:
    """The parameters of all trials at every tenth step, and the batch that the probe looks at."""

    objective: PackObjective
    snapshots_TNP: Tensor
    probe_batch: Batch


def train(seed: int = 0, num_steps: int = NUM_STEPS) -> Training:
    """Twelve trials from one initialization, on the batches of one data order."""
    arrays = load(Digits(kind="digits"), None)
    inputs, targets = torch.from_numpy(arrays.train_x.copy()), torch.from_numpy(arrays.train_y.copy())
    model, loss = build_model(MLP(kind="mlp"), inputs.shape[1:], 10), build_loss(CrossEntropy(kind="cross_entropy"))
    start = model.init(generator(seed, "initialization"), torch.float32)
    layout = Layout.of(start)
    objective = PackObjective(
        lambda params_P, x, y: loss(model.apply(layout.unflatten(params_P), x), y), layout.num_parameters
    )
    params_NP = layout.flatten(start).repeat(len(RATES), 1)
    update = _Updates(params_NP)
    snapshots = []
    for step, index in zip(range(num_steps + 1), _batches(seed, len(inputs)), strict=False):
        if step % FINE_CADENCE == 0:
            snapshots.append(params_NP)
        _, grads_NP = objective.loss_and_grad(params_NP, Batch((inputs[index], targets[index]), size=BATCH_SIZE))
        params_NP = params_NP + update(grads_NP)
    chosen = torch.from_numpy(probe_batches(_spec(FINE_CADENCE), len(inputs), BATCH_SIZE)[0])
    return Training(objective, torch.stack(snapshots), Batch((inputs[chosen], targets[chosen]), size=BATCH_SIZE))


def measure(training: Training, cadence: int) -> dict[str, np.ndarray]:
    """value, error, num_hvps and converged, each [points, N], of a probe every `cadence` steps."""
    probe = build_probe(_spec(cadence))
    snapshots_TNP = training.snapshots_TNP[:: cadence // FINE_CADENCE]
    num_points, num_trials, num_parameters = snapshots_TNP.shape
    state = probe.init(num_trials, num_parameters, torch.float32, torch.device("cpu"))
    readings = []
    for point, params_NP in enumerate(snapshots_TNP):
        request = ProbeRequest(
            objective=training.objective,
            batches=(training.probe_batch,),
            params_nP=params_NP,
            next_params_nP=None,
            lr_n=torch.zeros(num_trials, dtype=torch.float64),
            hvps_left_n=torch.full((num_trials,), 10**6),
            points_left_n=torch.full((num_trials,), num_points - point - 1),
            alive_n=torch.ones(num_trials, dtype=torch.bool),
            step=point * cadence,
        )
        reading, state = probe.measure(request, state)
        readings.append(reading)
    columns = ("value", "error", "num_hvps", "converged")
    return {name: torch.stack([getattr(reading, name) for reading in readings]).numpy() for name in columns}


def truth(training: Training) -> np.ndarray:
    """The largest eigenvalue [points, N] in float64, by eigsh at 1e-8, of every snapshot."""
    inputs, targets = training.probe_batch.tensors
    batch = Batch((inputs.double(), targets), size=BATCH_SIZE)
    snapshots_TNP = training.snapshots_TNP.double()
    values = np.empty(snapshots_TNP.shape[:2])
    for trial in range(snapshots_TNP.shape[1]):
        random = np.random.default_rng(trial)
        vector = np.zeros(snapshots_TNP.shape[2])
        for point, params_P in enumerate(snapshots_TNP[:, trial]):
            vector = vector + random.standard_normal(len(vector)) / np.sqrt(len(vector))
            values[point, trial], vector = _eigsh(training.objective, params_P[None], batch, vector)
    return values


def in_own_precision(training: Training, exact: np.ndarray, found: np.ndarray, cadence: int) -> np.ndarray:
    """`exact` [points, N] with eigsh of the float32 products wherever `found` is more than 1 % off."""
    snapshots_TNP = training.snapshots_TNP[:: cadence // FINE_CADENCE]
    values = exact.copy()
    for point, trial in zip(*np.nonzero(np.abs(found - exact) > 0.01 * np.abs(exact)), strict=True):
        start = np.random.default_rng(0).standard_normal(snapshots_TNP.shape[2])
        params_1P = snapshots_TNP[point, trial][None]
        values[point, trial], _ = _eigsh(training.objective, params_1P, training.probe_batch, start)
    return values


def main(seed: int = 0) -> dict[str, float]:
    """The figures, printed beside what they should be; about a minute on one core."""
    began = time.perf_counter()
    training = train(seed)
    fine, coarse = measure(training, FINE_CADENCE), measure(training, COARSE_CADENCE)
    exact = truth(training)
    stride = COARSE_CADENCE // FINE_CADENCE
    figures = {
        **_figures(training, fine, exact, FINE_CADENCE),
        **_figures(training, coarse, exact[::stride], COARSE_CADENCE),
        "seconds": time.perf_counter() - began,
    }
    for name, value in figures.items():
        print(f"{name:38s} {value:10.4f}  {_wanted(name)}")
    return figures


class _Updates:
    """sgd with momentum for the first half of the trials, adamw without decay for the second."""

    def __init__(self, params_NP: Tensor) -> None:
        self._rates_N1 = torch.tensor(RATES)[:, None]
        self._is_sgd_N1 = (torch.arange(len(RATES)) < len(SGD_RATES))[:, None]
        self._velocity, self._mean, self._square = (torch.zeros_like(params_NP) for _ in range(3))
        self._steps = 0

    def __call__(self, grads_NP: Tensor) -> Tensor:
        self._steps += 1
        self._velocity = 0.9 * self._velocity + grads_NP
        self._mean = 0.9 * self._mean + 0.1 * grads_NP
        self._square = 0.999 * self._square + 0.001 * grads_NP**2
        mean, square = self._mean / (1 - 0.9**self._steps), self._square / (1 - 0.999**self._steps)
        return -self._rates_N1 * torch.where(self._is_sgd_N1, self._velocity, mean / (square.sqrt() + 1e-8))


def _batches(seed: int, num_examples: int) -> Iterator[Tensor]:
    epoch = 0
    while True:
        order = torch.randperm(num_examples, generator=generator(seed, "data_order", epoch))
        yield from order.split(BATCH_SIZE)[: num_examples // BATCH_SIZE]
        epoch += 1


def _spec(cadence: int) -> Sharpness:
    return Sharpness(kind="sharpness", every_steps=cadence)


def _eigsh(objective: PackObjective, params_1P: Tensor, batch: Batch, start: np.ndarray) -> tuple[float, np.ndarray]:
    def product(vector: np.ndarray) -> np.ndarray:
        vector_1P = torch.from_numpy(vector.reshape(1, -1)).to(params_1P.dtype, copy=True)
        return objective.hvp(params_1P, batch, vector_1P)[0].double().numpy()

    size = params_1P.shape[1]
    operator = LinearOperator((size, size), matvec=product, dtype=np.float64)
    values, vectors = eigsh(operator, k=1, which="LA", tol=1e-8, v0=start)
    return float(values[0]), vectors[:, 0]


def _figures(training: Training, found: dict[str, np.ndarray], exact: np.ndarray, cadence: int) -> dict[str, float]:
    own = in_own_precision(training, exact, found["value"], cadence)
    converged = found["converged"]
    error = (np.abs(found["value"] - own) / np.abs(own))[converged]
    error_float64 = (np.abs(found["value"] - exact) / np.abs(exact))[converged]
    hvps = found["num_hvps"]
    figures = {
        "points": float(converged.size),
        "converged_share": float(converged.mean()),
        "within_1_percent_share": float((error <= 0.01).mean()),
        "within_5_percent_share": float((error <= 0.05).mean()),
        "largest_error": float(error.max()),
        "within_1_percent_of_float64_share": float((error_float64 <= 0.01).mean()),
        "median_hvps": float(np.median(hvps)),
        "mean_hvps": float(hvps.mean()),
        "p90_hvps": float(np.quantile(hvps, 0.9)),
    }
    return {f"{name}_every_{cadence}": value for name, value in figures.items()}


def _wanted(name: str) -> str:
    if name in ALLOWED:
        return f"at most {ALLOWED[name]:g}"
    if name.startswith("within_1_percent_share"):
        return "at least 0.95"
    return "exactly 1" if name.startswith("within_5_percent") else ""


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
