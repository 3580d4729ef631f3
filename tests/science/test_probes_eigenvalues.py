"""Every probe of an eigenvalue or of a direction against dense matrices, on every kind of model; and its refusals."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor

from schemas.functions import Quadratic
from schemas.optimizers import SGD, Adam, GIAdam
from schemas.probes import Probe as ProbeSpec
from schemas.records import names
from schemas.tags import tags
from schemas.trials import ProbePoints
from schemas.workloads import GPT, MLP, MSE, Analytic, AnalyticBudget, CrossEntropy, ResNet, Start, ViT
from workers.science.objective import Network, PackObjective
from workers.science.own.alone import AloneObjective
from workers.science.parameters import Layout
from workers.science.protocols import Batch, Probe, ProbeReading, ProbeRequest, State
from workers.science.registry import build_loss, build_model, build_probe
from workers.science.streams import generator

HESSIAN_KINDS = ("sharpness", "hessian_norm", "most_negative_eigenvalue", "preconditioned_sharpness", "gauss_newton")
KINDS = (*HESSIAN_KINDS, "directional_sharpness")
MODELS = {
    "mlp": MLP(kind="mlp", widths=(5, 4)),
    "mup": MLP(kind="mlp", widths=(6, 6), parametrization="mup", activation="gelu"),
    "resnet": ResNet(kind="resnet", depth=6, stages=2, width=2, groups=1),
    "vit": ViT(kind="vit", patch=3, depth=1, width=4, heads=2),
    "gpt": GPT(kind="gpt", layers=1, heads=2, width=4, context=5),
}
SHAPES = {"mlp": (5,), "mup": (5,), "resnet": (2, 6, 6), "vit": (2, 6, 6), "gpt": (5,)}
CLASSES = 3


def spec_of(kind: str, **fields: object) -> ProbeSpec:
    iterative = {"relative_tolerance": 1e-5, "max_hvps": 200} if kind in HESSIAN_KINDS else {}
    return TypeAdapter(ProbeSpec).validate_python({"kind": kind, "every_steps": 1, **iterative, **fields})


def built(name: str) -> tuple[PackObjective, AloneObjective, Batch, Tensor]:
    """The objective stacked and alone, a batch of 8, and the parameters [2, P] of two starts, off their zeros."""
    model, loss = build_model(MODELS[name], SHAPES[name], CLASSES), build_loss(_loss(name))
    starts = [model.init(generator(seed, "initialization"), torch.float64) for seed in range(2)]
    layout = Layout.of(starts[0])
    stream = generator(0, "test")
    params = layout.stack(starts)
    params = params + 0.3 * torch.randn(params.shape, generator=stream, dtype=torch.float64)
    inputs = torch.randn(8, *SHAPES[name], generator=stream, dtype=torch.float64)
    targets = torch.randint(CLASSES, (8,), generator=stream)
    if name == "gpt":
        inputs = torch.randint(CLASSES, (8, 5), generator=stream, dtype=torch.uint8)
        targets = torch.randint(CLASSES, (8, 5), generator=stream)

    def outputs(p: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return model.apply(layout.unflatten(p), x)

    network = Network(outputs, lambda o, x, y: loss(o, y))
    stacked = PackObjective(lambda p, x, y: loss(outputs(p, x, y), y), layout.num_parameters, network=network)
    return stacked, AloneObjective(model, loss, layout, None), Batch((inputs, targets), size=8), params


def _loss(name: str) -> CrossEntropy | MSE:
    return MSE(kind="mse") if name == "mup" else CrossEntropy(kind="cross_entropy")


def ask(
    probe: Probe,
    objective: PackObjective | AloneObjective,
    params: Tensor,
    batches: Sequence[Batch] = (Batch(),),
    next_params: Tensor | None = None,
    preconditioner: Tensor | None = None,
    state: State | None = None,
) -> ProbeReading:
    num = len(params)
    request = ProbeRequest(
        objective=objective,
        batches=tuple(batches),
        params_nP=params,
        next_params_nP=next_params,
        lr_n=torch.full((num,), 0.1, dtype=torch.float64),
        hvps_left_n=torch.full((num,), 10_000),
        points_left_n=torch.zeros(num, dtype=torch.int64),
        alive_n=torch.ones(num, dtype=torch.bool),
        step=0,
        preconditioner_nP=preconditioner,
    )
    before = probe.init(num, params.shape[1], params.dtype, params.device) if state is None else state
    return probe.measure(request, before)[0]


def dense_matrices(objective: PackObjective, batch: Batch, params_P: Tensor) -> tuple[Tensor, Tensor]:
    """Hessian and Gauss-Newton matrix, by reverse over reverse and from the whole Jacobian."""
    trial_loss, network = objective._trial_loss, objective._network
    hessian = torch.func.jacrev(torch.func.grad(lambda p: trial_loss(p, *batch.tensors)))(params_P)
    at = network.outputs(params_P, *batch.tensors)
    jacobian = torch.func.jacrev(lambda p: network.outputs(p, *batch.tensors))(params_P).reshape(at.numel(), -1)
    curved = torch.func.jacrev(torch.func.grad(lambda o: network.loss(o, *batch.tensors)))(at)
    return hessian, jacobian.T @ curved.reshape(at.numel(), at.numel()) @ jacobian


SLOW = (pytest.mark.slow, pytest.mark.proof)
LARGE = ("mup", "resnet", "vit", "gpt")


@pytest.mark.parametrize("name", [pytest.param(n, marks=SLOW if n in LARGE else ()) for n in MODELS])
def test_every_kind_agrees_with_the_dense_matrices_of_every_model(name: str) -> None:
    objective, alone, batch, params = built(name)
    stream = generator(1, "test")
    preconditioner = torch.rand(params.shape, generator=stream, dtype=torch.float64) ** 4 + 1e-3
    step = torch.randn(params.shape, generator=stream, dtype=torch.float64) * 1e-3
    key = Batch((*batch.tensors, torch.tensor(0)), size=8)
    read = {
        kind: ask(build_probe(spec_of(kind)), objective, params, [batch], params + step, preconditioner)
        for kind in KINDS
    }
    lone = {
        kind: ask(build_probe(spec_of(kind)), alone, params, [key], params + step, preconditioner)
        for kind in ("gauss_newton", "preconditioned_sharpness")
    }
    for row in range(2):
        hessian, gauss_newton = dense_matrices(objective, batch, params[row])
        root = preconditioner[row].rsqrt()
        values = torch.linalg.eigvalsh(hessian)
        expected = {
            "sharpness": values[-1],
            "hessian_norm": values.abs().max(),
            "most_negative_eigenvalue": values[0],
            "preconditioned_sharpness": torch.linalg.eigvalsh(root[:, None] * hessian * root)[-1],
            "gauss_newton": torch.linalg.eigvalsh(gauss_newton)[-1],
            "directional_sharpness": step[row] @ hessian @ step[row] / (step[row] @ step[row]),
        }
        assert values[0] < 0 < values[-1]
        for kind, value in expected.items():
            assert read[kind].value[row].item() == pytest.approx(value.item(), rel=1e-4), kind
            assert read[kind].converged[row].item(), kind
        for kind, reading in lone.items():
            assert reading.value[row].item() == pytest.approx(expected[kind].item(), rel=1e-4), kind


def quadratic(eigenvalues: Sequence[float]) -> PackObjective:
    at = torch.tensor(eigenvalues, dtype=torch.float64)
    return PackObjective(lambda w: 0.5 * (at * w.square()).sum(), len(eigenvalues))


@pytest.mark.parametrize(
    ("eigenvalues", "top", "norm", "bottom"),
    [((5.0, 4.9, 1.0, -7.0), 5.0, 7.0, -7.0), ((3.0, 2.0, 1.0), 3.0, 3.0, 1.0), ((-1.0, -2.0), -1.0, 2.0, -2.0)],
)
def test_the_three_ends_of_a_spectrum(eigenvalues: tuple[float, ...], top: float, norm: float, bottom: float) -> None:
    params = torch.ones(1, len(eigenvalues), dtype=torch.float64)
    expected = {"sharpness": top, "hessian_norm": norm, "most_negative_eigenvalue": bottom}
    for kind, value in expected.items():
        reading = ask(build_probe(spec_of(kind)), quadratic(eigenvalues), params)
        assert reading.value.item() == pytest.approx(value, rel=1e-9), kind
        assert reading.lower == reading.upper == reading.value


def test_a_norm_that_followed_the_upper_end_finds_the_lower_one_once_that_is_larger() -> None:
    diagonal = torch.cat([torch.tensor([-6.0, 5.0]), torch.linspace(-1, 1, 200)]).double()
    warm = torch.zeros(1, 1, 202, dtype=torch.float64)
    warm[0, 0, 1] = 1.0
    probe = build_probe(spec_of("hessian_norm", relative_tolerance=0.01, max_hvps=24))
    reading = ask(probe, quadratic(diagonal.tolist()), torch.zeros(1, 202, dtype=torch.float64), state={"warm": warm})
    assert reading.value.item() == pytest.approx(6.0, rel=0.01)


def test_on_a_diagonal_quadratic_the_largest_of_fifty_is_found_to_six_digits() -> None:
    reading = ask(build_probe(spec_of("sharpness")), quadratic([*range(1, 51)]), torch.ones(1, 50, dtype=torch.float64))
    assert reading.value.item() == pytest.approx(50.0, rel=1e-6)


def test_a_preconditioner_with_a_zero_in_it_gives_no_number() -> None:
    params, preconditioner = torch.ones(2, 3, dtype=torch.float64), torch.ones(2, 3, dtype=torch.float64)
    preconditioner[0, 1] = 0.0
    probe = build_probe(spec_of("preconditioned_sharpness"))
    reading = ask(probe, quadratic([3.0, 2.0, 1.0]), params, (Batch(),), params, preconditioner)
    assert math.isnan(reading.value[0])
    assert not reading.converged[0]
    assert reading.value[1].item() == pytest.approx(3.0)


def test_directional_sharpness_is_below_the_sharpness_and_its_error_bounds_what_float32_loses() -> None:
    objective, _, batch, params = built("mlp")
    probe, step = build_probe(spec_of("directional_sharpness")), torch.randn(params.shape, generator=generator(2, "t"))
    exact = ask(probe, objective, params, [batch], params + 1e-2 * step.double())
    short = Batch((batch.tensors[0].float(), batch.tensors[1]), size=8)
    rounded = ask(probe, objective, params.float(), [short], params.float() + 1e-2 * step)
    top = ask(build_probe(spec_of("sharpness")), objective, params, [batch])
    assert (exact.value <= top.value).all()
    assert (rounded.value - exact.value).abs().max() <= 50 * rounded.error.max()
    assert (rounded.error > 0).all()
    assert exact.num_hvps.tolist() == exact.num_gradients.tolist() == [1, 1]


def test_a_step_of_length_zero_has_no_direction() -> None:
    params = torch.ones(1, 2, dtype=torch.float64)
    reading = ask(build_probe(spec_of("directional_sharpness")), quadratic([2.0, 1.0]), params, (Batch(),), params)
    assert math.isnan(reading.value.item())
    assert not reading.converged.item()


# --- while training ---


def wall(start: tuple[float, ...], eigenvalues: tuple[float, ...], steps: int = 4) -> Analytic:
    return Analytic(
        task="analytic",
        function=Quadratic(kind="quadratic", eigenvalues=eigenvalues),
        start=Start(point=start),
        budget=AnalyticBudget(steps=steps),
    )


def plan(kinds: Sequence[str], steps: Sequence[int]) -> dict[str, ProbePoints]:
    return {kind: ProbePoints(steps=tuple(steps), hvps_allowed=1000) for kind in kinds}


def test_the_preconditioner_is_that_of_the_step_about_to_be_made(make) -> None:
    eigenvalues, start, lr = (4.0, 0.5), (1.0, -3.0), 0.01
    ratios = {}
    for optimizer in (Adam(kind="adam"), GIAdam(kind="gi_adam"), SGD(kind="sgd")):
        task = make.pack(
            make.trial(wall(start, eigenvalues), optimizer, lr),
            probes=(spec_of("preconditioned_sharpness"),),
            points=plan(["preconditioned_sharpness"], [0, 1, 2]),
        )
        done = make.run(task, None)
        ratios[optimizer.kind] = done.tables["probes"]["value"]
    at, second, expected = torch.tensor(start, dtype=torch.float64), torch.zeros(2, dtype=torch.float64), []
    first = torch.zeros(2, dtype=torch.float64)
    curvature = torch.tensor(eigenvalues, dtype=torch.float64)
    for t in (1, 2, 3):
        gradient = curvature * at
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        preconditioner = (1 - 0.9**t) * ((second / (1 - 0.999**t)).sqrt() + 1e-8)
        expected.append((curvature / preconditioner).max().item())
        at = at - lr * first / preconditioner
    assert ratios["adam"].tolist() == pytest.approx(expected, rel=1e-6)
    assert ratios["gi_adam"][0] / ratios["adam"][0] == pytest.approx(0.0316228, abs=1e-4)
    assert ratios["sgd"].tolist() == pytest.approx([4.0] * 3)


def test_the_preconditioner_holds_the_factors_of_mup(make, blobs) -> None:
    workload = make.classification(model=MLP(kind="mlp", widths=(8, 16), parametrization="mup"), precision="float64")
    probe = spec_of("preconditioned_sharpness")
    task = make.pack(make.trial(workload), probes=(probe,), points=plan(["preconditioned_sharpness"], [0]))
    done = make.run(task, blobs)
    problem = done.trainer._problem
    (batch,), root = problem.probe_batches(probe).batches, problem.lr_multiplier_P.sqrt()
    each = torch.eye(problem.layout.num_parameters, dtype=torch.float64)
    hessian = problem.objective.hvp(problem.start_NP.expand_as(each), batch, each)
    assert (root != 1).any()
    expected = torch.linalg.eigvalsh(root[:, None] * hessian * root)[-1].item()
    assert done.tables["probes"]["value"][0] == pytest.approx(expected, rel=1e-4)


def test_every_kind_there_is_changes_no_training_bit_and_is_counted(make, blobs) -> None:
    kinds = tags(ProbeSpec)
    assert set(kinds) > set(KINDS)
    probes = tuple(spec_of(kind, **({"max_hvps": 8} if kind in HESSIAN_KINDS else {})) for kind in kinds)
    trials = [make.trial(optimizer=Adam(kind="adam"), peak_lr=0.01 * (1 + i), seed=make.seed(i)) for i in range(2)]
    on = make.run(make.pack(*trials, probes=probes, points=plan(kinds, [0, 9])), blobs)
    off = make.run(make.pack(*trials), blobs)
    for table in ("steps", "evaluations"):
        for name in names(table)[1:]:
            assert on.tables[table][name].tobytes() == off.tables[table][name].tobytes()
    assert on.trainer.state_dict()["loop.params"].tobytes() == off.trainer.state_dict()["loop.params"].tobytes()
    rows = on.tables["probes"]
    assert {name.partition(".")[0] for name in rows["probe"]} == set(kinds)
    assert np.isfinite(rows["value"]).all()
    for result in on.results:
        mine = rows["trial_id"] == result.trial_id
        assert result.hvps == rows["num_hvps"][mine].sum() > 0
        assert result.gradients == pytest.approx(30 + rows["num_gradients"][mine].sum())
        of_kinds = {probe.kind: probe.gradients_per_batch * probe.batch.count for probe in probes}
        assert rows["num_gradients"][mine].sum() == 2 * sum(of_kinds.values())
