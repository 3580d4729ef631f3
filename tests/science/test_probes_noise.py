"""Secants at several points, the secant that reads noise, and gradient noise, against closed forms."""

import math

import pytest
import torch
from torch import Tensor

from schemas.functions import Power
from schemas.probes import GradientNoise, NoiseBatch, ProbeBatch, SecantNoise, SecantSmoothness
from schemas.trials import ProbePoints
from tests.science.test_probes_eigenvalues import ask, built
from workers.analysis.noise import fit_abc
from workers.science.objective import PackObjective
from workers.science.protocols import Batch, ProbeReading
from workers.science.registry import build_function, build_probe
from workers.science.streams import generator

CLOSED_FORM = {"endpoint": 28.0, "midpoint": 37.0, "grid": 44.111}


def secant(points: object, count: int = 1) -> SecantSmoothness:
    fields = {"kind": "secant_smoothness", "every_steps": 1, "points": points, "batch": ProbeBatch(count=count)}
    return SecantSmoothness.model_validate(fields)


def fourth_power(points: object) -> ProbeReading:
    function = build_function(Power(kind="power", p=4))
    here = torch.tensor([[2.0]], dtype=torch.float64)
    return ask(build_probe(secant(points)), PackObjective(function.value, 1), here, (Batch(),), here - 1.0)


@pytest.mark.parametrize(("point", "value"), CLOSED_FORM.items())
def test_a_point_on_the_way_reads_what_the_paper_states(point: str, value: float) -> None:
    reading = fourth_power(point)
    assert reading.value.item() == pytest.approx(value, abs=5e-4)
    assert not reading.points
    assert reading.num_gradients.item() == {"endpoint": 2, "midpoint": 2, "grid": 6}[point]


def test_several_points_share_their_gradients_and_are_rows_of_their_own() -> None:
    reading = fourth_power(["endpoint", "midpoint", "grid"])
    assert {name: row.value.item() for name, row in reading.points.items()} == pytest.approx(CLOSED_FORM, abs=5e-4)
    spent = [row.num_gradients.item() for row in reading.points.values()]
    assert spent == [2, 1, 4]  # the midpoint is one of the grid
    assert reading.num_gradients.item() == sum(spent) == secant(["endpoint", "midpoint", "grid"]).gradients_per_batch


def test_the_error_of_a_secant_is_about_what_float32_loses() -> None:
    objective, _, batch, params = built("mlp")
    direction = torch.randn(params.shape, generator=generator(3, "test"))
    for length in (1e-1, 1e-3, 1e-5):
        exact_step = (params.float() + length * direction).double() - params.float().double()
        at = params.float().double()
        exact = ask(build_probe(secant("endpoint")), objective, at, [batch], at + exact_step)
        short = Batch((batch.tensors[0].float(), batch.tensors[1]), size=8)
        rounded = ask(build_probe(secant("endpoint")), objective, at.float(), [short], at.float() + exact_step.float())
        lost = (rounded.value - exact.value).abs()
        assert (lost <= 20 * rounded.error).all()
        assert (exact.error < 1e-6 * rounded.error).all()


def test_a_secant_below_its_own_rounding_is_not_believed() -> None:
    far = PackObjective(lambda w: 1e8 * w.sum() + 0.5 * w.square().sum(), 2)
    here = torch.ones(1, 2)
    reading = ask(build_probe(secant("endpoint")), far, here, (Batch(),), here + 1e-3)
    assert reading.error.item() > reading.value.item()
    assert not reading.converged.item()


# --- the secant that reads noise ---


def noisy_quadratic(eigenvalues: Tensor) -> PackObjective:
    """A batch is the noise in its gradient."""
    return PackObjective(lambda w, noise: 0.5 * (eigenvalues * w.square()).sum() + (noise * w).sum(), len(eigenvalues))


def test_a_different_batch_secant_reads_the_noise_floor_and_says_so() -> None:
    dimension, sigma, lr, steps = 100, 0.1, 1e-4, 500
    eigenvalues = torch.linspace(0.01, 1, dimension, dtype=torch.float64)
    stream = generator(0, "test")
    noise = sigma * torch.randn(steps, 2, dimension, generator=stream, dtype=torch.float64)
    at, path = torch.randn(dimension, generator=stream, dtype=torch.float64), []
    for step in range(steps):
        gradient = eigenvalues * at + noise[step, 0]
        path.append(at)
        at = at - lr * gradient / gradient.norm().clamp(min=1.0)
    params = torch.stack(path)
    ahead = torch.cat([params[1:], at[None]])
    batches = [Batch((noise[:, index],), stacked=True) for index in (0, 1)]
    objective = noisy_quadratic(eigenvalues)
    read = ask(build_probe(SecantNoise(kind="secant_noise", every_steps=1)), objective, params, batches, ahead)
    same = ask(build_probe(secant("endpoint", 2)), objective, params, batches, ahead)
    floor = math.sqrt(2 * dimension) * sigma / lr
    assert floor == pytest.approx(14142, abs=1)
    assert read.value.square().mean().sqrt().item() == pytest.approx(floor, rel=0.05)
    assert 0.5 < same.value.square().mean().sqrt().item() < 1.0
    assert (read.error / same.value > 1000).all()
    assert not read.converged.any()
    assert same.converged.all()


def test_without_noise_it_is_the_same_batch_secant() -> None:
    eigenvalues = torch.tensor([3.0, 1.0], dtype=torch.float64)
    here = torch.ones(2, 2, dtype=torch.float64)
    batches = [Batch((torch.zeros(2, dtype=torch.float64),))] * 2
    probe = build_probe(SecantNoise(kind="secant_noise", every_steps=1))
    reading = ask(probe, noisy_quadratic(eigenvalues), here, batches, here + torch.tensor([1.0, 0.0]))
    assert reading.value.tolist() == [3.0, 3.0]
    assert reading.error.tolist() == [0.0, 0.0]
    assert reading.converged.all()
    assert reading.num_gradients.tolist() == [4, 4]


# --- gradient noise ---


def noise_probe(count: int) -> GradientNoise:
    return GradientNoise(kind="gradient_noise", every_steps=1, batch=NoiseBatch(count=count))


def test_variance_and_noise_scale_of_a_quadratic_with_additive_noise() -> None:
    dimension, sigma, count, size = 40, 0.5, 60, 16
    eigenvalues = torch.ones(dimension, dtype=torch.float64)
    noise = sigma * torch.randn(count, dimension, generator=generator(0, "test"), dtype=torch.float64)
    batches = [Batch((each,), size=size) for each in noise]
    here = torch.full((1, dimension), 2.0, dtype=torch.float64)
    reading = ask(build_probe(noise_probe(count)), noisy_quadratic(eigenvalues), here, batches)
    variance, scale = reading.points["variance"], reading.points["scale"]
    for row, truth in ((variance, dimension * sigma**2), (scale, size * dimension * sigma**2 / (4 * dimension))):
        assert abs(row.value.item() - truth) < 4 * row.error.item() < 0.4 * truth
        assert row.converged.item()
    assert variance.lower.item() < variance.value.item() < variance.upper.item()
    assert reading.num_gradients.item() == variance.num_gradients.item() == count
    assert scale.num_gradients.item() == 0


def test_a_gradient_that_drowns_in_noise_has_no_scale() -> None:
    noise = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]], dtype=torch.float64)
    here = torch.zeros(1, 2, dtype=torch.float64)
    objective = noisy_quadratic(torch.ones(2, dtype=torch.float64))
    reading = ask(build_probe(noise_probe(4)), objective, here, [Batch((each,)) for each in noise])
    assert reading.points["variance"].value.item() == pytest.approx(4 / 3)
    assert math.isnan(reading.points["scale"].value.item())
    assert not reading.points["scale"].converged.item()


@pytest.mark.parametrize("truth", [(0.0, 0.0, 0.25), (0.0, 0.16, 0.0), (0.0, 0.16, 0.25), (2.0, 0.0, 0.0)])
def test_the_constants_of_the_abc_condition_come_back_from_readings(truth: tuple[float, float, float]) -> None:
    """Additive noise is C, noise that multiplies the gradient is B, noise that grows with f is A."""
    eigenvalues = torch.tensor([4.0, 1.0, 0.25], dtype=torch.float64)
    a, b, c = truth

    def loss(w: Tensor, draw: Tensor) -> Tensor:
        value = 0.5 * (eigenvalues * w.square()).sum()
        gradient = (eigenvalues * w).detach()
        shift = (c / 3) ** 0.5 * draw[:3] + b**0.5 * draw[3] * gradient + (a * value.detach() / 3) ** 0.5 * draw[4:]
        return value + (shift.detach() * w).sum() - (shift.detach() * w).sum().detach()

    count = 60
    draws = torch.randn(count, 7, generator=generator(0, "test"), dtype=torch.float64)
    draws = torch.linalg.qr(draws - draws.mean(0))[0] * (count - 1) ** 0.5  # uncorrelated, mean 0, variance 1: exactly
    here = torch.randn(12, 3, generator=generator(1, "test"), dtype=torch.float64) * torch.logspace(-1, 1, 12)[:, None]
    reading = ask(
        build_probe(noise_probe(count)), PackObjective(loss, 3, trace=False), here, [Batch((each,)) for each in draws]
    )
    row = reading.points["variance"]
    fitted = fit_abc(row.value.numpy(), row.loss.numpy(), row.gradient_norm.square().numpy())
    assert (fitted.a, fitted.b, fitted.c) == pytest.approx(truth, abs=1e-6)
    assert fitted.n == 12
    assert fitted.largest == pytest.approx(1.0, abs=1e-6)


def test_rows_of_several_points_are_written_and_paid_for_once(make, blobs) -> None:
    probes = (secant(["midpoint", "grid"]), noise_probe(3))
    plan = {probe.kind: ProbePoints(steps=(0, 4)) for probe in probes}
    done = make.run(make.pack(make.trial(), make.trial(seed=make.seed(1)), probes=probes, points=plan), blobs)
    rows = done.tables["probes"]
    written = {
        "secant_smoothness.midpoint",
        "secant_smoothness.grid",
        "gradient_noise.variance",
        "gradient_noise.scale",
    }
    assert set(rows["probe"]) == written
    assert len(rows["probe"]) == 2 * 2 * 4
    for result in done.results:
        mine = rows["trial_id"] == result.trial_id
        assert result.gradients == pytest.approx(30 + rows["num_gradients"][mine].sum())
        assert rows["num_gradients"][mine].sum() == 2 * (6 + 3)
