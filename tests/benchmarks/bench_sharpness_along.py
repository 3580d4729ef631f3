"""Sharpness along 500 steps of mlp, resnet and gpt: our probe's HVPs beside curvlinops + eigsh and power iteration.

Each net is trained from one start; its parameters are kept at every `CADENCE`-th step, and all three follow the largest
eigenvalue along them, each from its own last vector plus the same fresh random direction (power iteration, as it is
usually run, starts cold). The truth is eigsh at 1e-10. Ours runs as it is by default. To compare at an equal true
error, the others are run at tighter and tighter tolerances, eigsh with several ncv, and the cheapest counts whose true
error is at most what ours is, at the share `SHARE` of the points. A product costs the same in all of them, so that
products are what is counted; `curvlinops` products are compared with ours once, to show that both multiply by the same
matrix.

Packed: the same probe on 16 mlp trials at once against one alone, seconds per trial; and on a net that is so narrow
that calls cost more than arithmetic, as on an accelerator those of larger ones do.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor, nn

from schemas.probes import Sharpness
from schemas.workloads import GPT, MLP, CrossEntropy, Digits, Model, ResNet, TextModel
from workers.data.sets import load
from workers.science.objective import PackObjective
from workers.science.parameters import Layout
from workers.science.protocols import Batch, ProbeRequest, Product
from workers.science.registry import build_loss, build_model, build_probe
from workers.science.streams import generator

NUM_STEPS, CADENCE = 500, 10
SHARE = 0.95
TOLERANCES = (0.1, 0.03, 0.01, 3e-3, 1e-3, 1e-4)
NCVS = (4, 6, 8, 12)
POWER_TOLERANCES = (1e-2, 1e-3, 1e-4, 1e-5)
MOST_POWER_ITERATIONS = 300
RANDOM_WEIGHT = 0.1
PACK = 16


@dataclass(frozen=True)
class Path:
    """The parameters of one trial along its training, and the batch that is looked at."""

    objective: PackObjective
    batch: Batch
    snapshots_TP: Tensor
    model: object
    layout: Layout


@dataclass(frozen=True)
class Followed:
    """Values [T] and products spent [T] of one method."""

    value: np.ndarray
    num_hvps: np.ndarray


def main(num_steps: int = NUM_STEPS, names: tuple[str, ...] = ("mlp", "resnet", "gpt")) -> dict[str, float]:
    """The figures, printed beside what they should be; some minutes on one core."""
    figures: dict[str, float] = {}
    for name in names:
        path = _train(name, num_steps)
        truth = _follow_eigsh(path, 40, 1e-10).value
        followed = _follow_ours(path)
        ours, error = float(followed.num_hvps.mean()), _error(followed, truth)
        krylov = min(_cost_at(error, truth, partial(_follow_eigsh, path, ncv), TOLERANCES) for ncv in NCVS)
        power = _cost_at(error, truth, partial(_follow_power, path), POWER_TOLERANCES)
        figures |= {
            f"{name}_error": error,
            f"{name}_hvps": ours,
            f"{name}_eigsh_hvps": krylov,
            f"{name}_power_hvps": power,
            f"{name}_against_eigsh": ours / krylov,
            f"{name}_power_against_ours": power / ours,
        }
        print({key: round(value, 4) for key, value in figures.items() if key.startswith(name)}, flush=True)
        if name == "mlp":
            figures["curvlinops_difference"] = _against_curvlinops(path)
            figures["packed_times_cheaper"] = _packed(path)
            figures["packed_narrow_times_cheaper"] = _packed(_train("narrow mlp", CADENCE))
    figures["largest_against_eigsh"] = max(figures[f"{name}_against_eigsh"] for name in names)
    figures["least_power_against_ours"] = min(figures[f"{name}_power_against_ours"] for name in names)
    for name, value in figures.items():
        print(f"{name:34s} {value:12.4f}")
    return figures


def _error(followed: Followed, truth: np.ndarray) -> float:
    """The relative error that `SHARE` of the points keep within."""
    return float(np.quantile(np.abs(followed.value - truth) / np.abs(truth), SHARE))


def _cost_at(
    error: float, truth: np.ndarray, follow: Callable[[float], Followed], tolerances: Sequence[float]
) -> float:
    """Mean products a point at the first tolerance that keeps within `error`; infinite where none does."""
    for tolerance in tolerances:
        followed = follow(tolerance)
        if _error(followed, truth) <= error:
            return float(followed.num_hvps.mean())
    return float("inf")


def _train(name: str, num_steps: int) -> Path:
    spec, inputs, targets, num_classes, rate, size = _workload(name)
    model, loss = (
        build_model(spec, tuple(inputs.shape[1:]), num_classes),
        build_loss(CrossEntropy(kind="cross_entropy")),
    )
    start = model.init(generator(0, "initialization"), torch.float64)
    layout = Layout.of(start)
    objective = PackObjective(lambda p, x, y: loss(model.apply(layout.unflatten(p), x), y), layout.num_parameters)
    params_1P, momentum = (
        layout.flatten(start)[None].clone(),
        torch.zeros(1, layout.num_parameters, dtype=torch.float64),
    )
    stream, kept = generator(0, "data_order"), []
    for step in range(num_steps + 1):
        if step % CADENCE == 0:
            kept.append(params_1P[0].clone())
        index = torch.randint(len(inputs), (size,), generator=stream)
        _, grads_1P = objective.loss_and_grad(params_1P, Batch((inputs[index], targets[index]), size=size))
        momentum = 0.9 * momentum + grads_1P
        params_1P = params_1P - rate * min(1.0, (step + 1) / 100) * momentum
    batch = Batch((inputs[:size], targets[:size]), size=size)
    return Path(objective, batch, torch.stack(kept), model, layout)


def _workload(name: str) -> tuple[Model | TextModel, Tensor, Tensor, int, float, int]:
    """Spec, inputs, targets, classes, rate, batch."""
    if name == "gpt":
        text = torch.frombuffer(bytearray(_text()), dtype=torch.uint8)
        windows = text.unfold(0, 17, 8)
        spec = GPT(kind="gpt", layers=2, heads=2, width=32, context=16)
        return spec, windows[:, :-1].clone(), windows[:, 1:].long(), 128, 0.1, 32
    arrays = load(Digits(kind="digits"), None)
    inputs, targets = torch.from_numpy(arrays.train_x.copy()).double(), torch.from_numpy(arrays.train_y.copy())
    if name == "mlp":
        return MLP(kind="mlp"), inputs, targets, 10, 0.05, 64
    if name == "narrow mlp":
        return MLP(kind="mlp", widths=(16,)), inputs, targets, 10, 0.05, 32
    spec = ResNet(kind="resnet", depth=8, stages=3, width=8, groups=4)
    return spec, inputs.reshape(-1, 1, 8, 8), targets, 10, 0.05, 32


def _text() -> bytes:
    """Python's own help, in ASCII."""
    return (
        str(str.__doc__) + str(dict.__doc__) + str(int.__doc__) + str(np.linalg.eigh.__doc__) + str(__doc__)
    ).encode("ascii", "replace")


def _follow_ours(path: Path) -> Followed:
    probe = build_probe(Sharpness(kind="sharpness", every_steps=CADENCE, max_hvps=200))
    state = probe.init(1, path.snapshots_TP.shape[1], torch.float64, torch.device("cpu"))
    values, spent = [], []
    for point, params_P in enumerate(path.snapshots_TP):
        reading, state = probe.measure(_request(path, params_P[None], point * CADENCE), state)
        values.append(reading.value.item())
        spent.append(reading.num_hvps.item())
    return Followed(np.array(values), np.array(spent))


def _request(path: Path, params_NP: Tensor, step: int) -> ProbeRequest:
    num = len(params_NP)
    return ProbeRequest(
        objective=path.objective,
        batches=(path.batch,),
        params_nP=params_NP,
        next_params_nP=None,
        lr_n=torch.zeros(num, dtype=torch.float64),
        hvps_left_n=torch.full((num,), 10**6),
        points_left_n=torch.zeros(num, dtype=torch.int64),
        alive_n=torch.ones(num, dtype=torch.bool),
        step=step,
    )


def _follow_eigsh(path: Path, ncv: int, tolerance: float) -> Followed:
    def one(product: Callable[[np.ndarray], np.ndarray], start: np.ndarray) -> tuple[float, np.ndarray]:
        size = len(start)
        operator = LinearOperator((size, size), matvec=product, dtype=np.float64)
        values, vectors = eigsh(operator, k=1, which="LA", tol=tolerance, ncv=ncv, v0=start)
        return float(values[0]), vectors[:, 0]

    return _follow(path, one, warm=True)


def _follow_power(path: Path, tolerance: float) -> Followed:
    """Cold power iteration: right where the largest eigenvalue is also the largest in magnitude, as on these nets."""

    def one(product: Callable[[np.ndarray], np.ndarray], start: np.ndarray) -> tuple[float, np.ndarray]:
        vector, value = start / np.linalg.norm(start), np.inf
        for _ in range(MOST_POWER_ITERATIONS):
            found = product(vector)
            before, value = value, float(vector @ found)
            vector = found / np.linalg.norm(found)
            if abs(value - before) <= tolerance * abs(value):
                break
        return value, vector

    return _follow(path, one, warm=False)


def _follow(
    path: Path,
    one: Callable[[Callable[[np.ndarray], np.ndarray], np.ndarray], tuple[float, np.ndarray]],
    *,
    warm: bool,
) -> Followed:
    values, spent, vector = [], [], np.zeros(path.snapshots_TP.shape[1])
    for point, params_P in enumerate(path.snapshots_TP):
        count, there = 0, path.objective.hvp_at(params_P[None], path.batch)

        def product(direction: np.ndarray, there: Product = there) -> np.ndarray:
            nonlocal count
            count += 1
            return there(torch.from_numpy(np.ascontiguousarray(direction).reshape(1, -1).copy()))[0].numpy()

        random = torch.randn(len(vector), generator=generator(0, "direction", point), dtype=torch.float64).numpy()
        start = RANDOM_WEIGHT * random / np.linalg.norm(random) + (vector if warm else 0.0)
        value, vector = one(product, start)
        values.append(value)
        spent.append(count)
    return Followed(np.array(values), np.array(spent))


def _against_curvlinops(path: Path) -> float:
    """Relative difference of one product of curvlinops and of ours."""
    import curvlinops

    sizes = [path.batch.tensors[0].shape[1], 128, 128, 10]
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out), nn.Tanh()]
    network = nn.Sequential(*layers[:-1]).double()
    nn.utils.vector_to_parameters(path.snapshots_TP[-1], network.parameters())
    operator = curvlinops.HessianLinearOperator(
        network, nn.CrossEntropyLoss(), list(network.parameters()), [path.batch.tensors]
    )
    vector = torch.randn(path.layout.num_parameters, generator=generator(0, "direction"), dtype=torch.float64)
    theirs = torch.as_tensor(operator @ vector)
    ours = path.objective.hvp(path.snapshots_TP[-1][None], path.batch, vector[None])[0]
    return float((theirs - ours).norm() / ours.norm())


def _packed(path: Path) -> float:
    """Seconds of a point alone over its share of a pack of PACK, float32; the least of several."""

    def seconds(num: int) -> float:
        inputs, targets = path.batch.tensors
        short = Path(path.objective, Batch((inputs.float(), targets), size=path.batch.size), path.snapshots_TP, None,
                     path.layout)  # fmt: skip
        probe = build_probe(Sharpness(kind="sharpness", every_steps=CADENCE))
        params_NP = path.snapshots_TP[:1].float().repeat(num, 1)
        state = probe.init(num, params_NP.shape[1], torch.float32, torch.device("cpu"))
        taken = []
        for point in range(12):
            began = time.perf_counter()
            _, state = probe.measure(_request(short, params_NP * (1 + 1e-4 * point), point), state)
            taken.append(time.perf_counter() - began)
        return min(taken[4:]) / num

    return seconds(1) / seconds(PACK)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
