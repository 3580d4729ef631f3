"""The two probes against closed forms, dense Hessians and curvlinops; and that measuring changes nothing."""

import gc
import math
import resource
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from schemas.functions import Power
from schemas.probes import ProbeBatch, SecantSmoothness, Sharpness
from schemas.workloads import MLP, CrossEntropy
from workers.science.objective import PackObjective
from workers.science.parameters import Layout
from workers.science.probes.lanczos import MIN_HVPS
from workers.science.probes.secant_smoothness import SecantSmoothnessProbe
from workers.science.probes.sharpness import SharpnessProbe
from workers.science.protocols import Batch, Probe, ProbeReading, ProbeRequest, State
from workers.science.registry import build_function, build_loss, build_model
from workers.science.streams import generator

RESONANT = torch.tensor([5.0, 4.9, 1.0, -7.0], dtype=torch.float64)


def quadratic(eigenvalues: Tensor) -> PackObjective:
    return PackObjective(lambda w: 0.5 * (eigenvalues * w.square()).sum(), len(eigenvalues))


def scaled_quadratic(eigenvalues: Tensor) -> PackObjective:
    """A batch is one number, by which the quadratic is multiplied."""
    return PackObjective(lambda w, factor: 0.5 * factor * (eigenvalues * w.square()).sum(), len(eigenvalues))


def small_mlp(dtype: torch.dtype = torch.float64) -> tuple[PackObjective, Layout, Batch, Tensor]:
    """Objective, layout, a batch of 20 and the parameters [3, P] of three initializations; P = 127."""
    model, loss = build_model(MLP(kind="mlp", widths=(8, 6)), (5,), 3), build_loss(CrossEntropy(kind="cross_entropy"))
    starts = [model.init(generator(seed, "initialization"), dtype) for seed in range(3)]
    layout = Layout.of(starts[0])
    stream = generator(0, "test")
    inputs = torch.randn(20, 5, generator=stream, dtype=torch.float64).to(dtype)
    targets = torch.randint(3, (20,), generator=stream)
    objective = PackObjective(lambda p, x, y: loss(model.apply(layout.unflatten(p), x), y), layout.num_parameters)
    return objective, layout, Batch((inputs, targets), size=20), layout.stack(starts)


def ask(
    probe: Probe,
    objective: PackObjective,
    params: Tensor,
    *,
    state: State | None = None,
    batches: Sequence[Batch] = (Batch(),),
    next_params: Tensor | None = None,
    hvps_left: int = 1000,
    points_left: int = 0,
    alive: Sequence[bool] | None = None,
    step: int = 0,
) -> tuple[ProbeReading, State]:
    num = len(params)
    request = ProbeRequest(
        objective=objective,
        batches=tuple(batches),
        params_nP=params,
        next_params_nP=next_params,
        lr_n=torch.full((num,), 0.1, dtype=torch.float64),
        hvps_left_n=torch.full((num,), hvps_left),
        points_left_n=torch.full((num,), points_left),
        alive_n=torch.tensor([True] * num if alive is None else alive),
        step=step,
    )
    before = probe.init(num, params.shape[1], params.dtype, params.device) if state is None else state
    return probe.measure(request, before)


def sharpness(**fields: object) -> SharpnessProbe:
    return SharpnessProbe(Sharpness.model_validate({"kind": "sharpness", "every_steps": 1, **fields}))


def secant(**fields: object) -> SecantSmoothnessProbe:
    return SecantSmoothnessProbe(
        SecantSmoothness.model_validate({"kind": "secant_smoothness", "every_steps": 1, **fields})
    )


# --- secant smoothness ---


@pytest.mark.parametrize(("distance", "expected"), [(1e-6, 48.0), (1 / 6, 44.111), (1 / 2, 37.0), (1.0, 28.0)])
def test_secant_of_the_fourth_power_is_the_closed_form(distance: float, expected: float) -> None:
    function = build_function(Power(kind="power", p=4))
    objective = PackObjective(function.value, 1)
    here = torch.tensor([[2.0]], dtype=torch.float64)
    reading, _ = ask(secant(), objective, here, next_params=here - distance)
    assert reading.value.item() == pytest.approx(expected, rel=2e-5)


def test_secant_on_a_quadratic_is_the_hessian_along_the_step() -> None:
    here = torch.randn(6, 4, generator=generator(0, "test"), dtype=torch.float64)
    step = torch.randn(6, 4, generator=generator(1, "test"), dtype=torch.float64)
    reading, _ = ask(secant(), quadratic(RESONANT), here, next_params=here + step)
    expected = (RESONANT * step).norm(dim=1) / step.norm(dim=1)
    assert torch.allclose(reading.value, expected, rtol=1e-12)
    assert (reading.value <= 7.0 + 1e-12).all()
    assert reading.num_gradients.tolist() == [2] * 6
    assert torch.allclose(reading.step_norm, step.norm(dim=1), rtol=1e-14)
    assert torch.allclose(reading.gradient_norm, (RESONANT * here).norm(dim=1), rtol=1e-14)


def test_secant_of_a_step_of_length_zero_is_nan_and_not_converged() -> None:
    here = torch.ones(1, 4, dtype=torch.float64)
    reading, _ = ask(secant(), quadratic(RESONANT), here, next_params=here)
    assert math.isnan(reading.value.item())
    assert not reading.converged.item()
    assert reading.step_norm.item() == 0.0


def test_secant_over_several_batches_is_mean_lowest_and_highest() -> None:
    batches = [Batch((torch.tensor(factor, dtype=torch.float64),)) for factor in (1.0, 2.0, 6.0)]
    here = torch.zeros(1, 4, dtype=torch.float64)
    step = torch.tensor([[1.0, 0, 0, 0]], dtype=torch.float64)
    probe = secant(batch=ProbeBatch(count=3))
    reading, _ = ask(probe, scaled_quadratic(RESONANT), here, next_params=here + step, batches=batches)
    assert (reading.lower.item(), reading.value.item(), reading.upper.item()) == (5.0, 15.0, 30.0)
    assert reading.num_gradients.item() == 6


def test_secant_of_a_member_that_is_not_finite_does_not_touch_its_neighbours() -> None:
    here = torch.ones(3, 4, dtype=torch.float64)
    ahead = here + 0.5
    alone, _ = ask(secant(), quadratic(RESONANT), here, next_params=ahead)
    ahead[1] = math.nan
    reading, _ = ask(secant(), quadratic(RESONANT), here, next_params=ahead, alive=[True, True, False])
    assert reading.value[0] == alone.value[0]
    assert torch.isnan(reading.value[1:]).all()
    assert reading.converged.tolist() == [True, False, False]


# --- sharpness ---


def test_sharpness_gives_5_where_the_largest_magnitude_is_minus_7() -> None:
    reading, _ = ask(sharpness(), quadratic(RESONANT), torch.ones(1, 4, dtype=torch.float64))
    assert reading.value.item() == pytest.approx(5.0, rel=1e-12)
    assert reading.converged.item()


def test_a_warm_vector_that_is_exactly_the_second_eigenvector_is_not_believed() -> None:
    second = torch.zeros(1, 1, 4, dtype=torch.float64)
    second[0, 0, 1] = 1.0
    at_the_minimum = torch.zeros(1, 4, dtype=torch.float64)  # no gradient to help
    reading, _ = ask(sharpness(), quadratic(RESONANT), at_the_minimum, state={"warm": second})
    assert reading.value.item() == pytest.approx(5.0, rel=1e-12)


def test_sharpness_of_a_small_network_agrees_with_its_dense_hessian() -> None:
    objective, _, batch, params = small_mlp()
    reading, _ = ask(sharpness(relative_tolerance=1e-6, max_hvps=100), objective, params, batches=[batch])
    for row in range(3):
        hessian = torch.func.jacrev(torch.func.jacrev(lambda w: objective.loss(w[None], batch)[0]))(params[row])
        expected = torch.linalg.eigvalsh(hessian)[-1].item()
        assert reading.value[row].item() == pytest.approx(expected, rel=1e-4)
        assert reading.value[row].item() <= expected * (1 + 1e-10)


@pytest.mark.filterwarnings("ignore")  # the oracle's own
def test_sharpness_of_a_small_network_agrees_with_curvlinops() -> None:
    curvlinops = pytest.importorskip("curvlinops")
    from scipy.sparse.linalg import eigsh

    objective, _, batch, params = small_mlp()
    reading, _ = ask(sharpness(relative_tolerance=1e-6, max_hvps=100), objective, params[:1], batches=[batch])
    network = torch.nn.Sequential(
        torch.nn.Linear(5, 8), torch.nn.Tanh(), torch.nn.Linear(8, 6), torch.nn.Tanh(), torch.nn.Linear(6, 3)
    ).double()
    torch.nn.utils.vector_to_parameters(params[0], network.parameters())
    hessian = curvlinops.HessianLinearOperator(
        network, torch.nn.CrossEntropyLoss(), list(network.parameters()), [batch.tensors]
    )
    expected = eigsh(hessian.to_scipy(), k=1, which="LA", return_eigenvectors=False)[0]
    assert reading.value.item() == pytest.approx(float(expected), rel=1e-4)


def test_hessian_products_are_symmetric_and_linear() -> None:
    objective, _, batch, params = small_mlp()
    u, v = torch.randn(2, *params.shape, generator=generator(0, "test"), dtype=torch.float64)
    hu, hv = objective.hvp(params, batch, u), objective.hvp(params, batch, v)
    assert torch.allclose(torch.linalg.vecdot(u, hv), torch.linalg.vecdot(v, hu), rtol=1e-10)
    assert torch.allclose(objective.hvp(params, batch, 2 * u - 3 * v), 2 * hu - 3 * hv, atol=1e-12)


def test_packed_sharpness_equals_solo() -> None:
    objective, _, batch, params = small_mlp()
    together, _ = ask(sharpness(), objective, params, batches=[batch])
    for row in range(3):
        alone, _ = ask(sharpness(), objective, params[row : row + 1], batches=[batch])
        assert together.value[row].item() == pytest.approx(alone.value.item(), rel=1e-10)
        assert together.num_hvps[row] == alone.num_hvps[0]


def test_a_network_that_is_not_finite_does_not_touch_its_neighbours() -> None:
    objective, _, batch, params = small_mlp()
    alone, _ = ask(sharpness(), objective, params, batches=[batch])
    broken = params.clone()
    broken[1, 3] = math.nan
    reading, state = ask(sharpness(), objective, broken, batches=[batch])
    assert math.isnan(reading.value[1].item())
    assert not reading.converged[1].item()
    assert reading.value[[0, 2]].tolist() == pytest.approx(alone.value[[0, 2]].tolist(), rel=1e-10)
    assert torch.isfinite(state["warm"]).all()


def test_a_member_that_is_over_costs_nothing() -> None:
    objective, _, batch, params = small_mlp()
    reading, _ = ask(sharpness(), objective, params, batches=[batch], alive=[True, False, True])
    assert reading.num_hvps[1].item() == 0
    assert reading.num_gradients.tolist() == [1, 0, 1]
    assert math.isnan(reading.value[1].item())


def test_a_warm_start_costs_fewer_products_than_a_cold_one() -> None:
    eigenvalues = torch.linspace(0, 1, 200, dtype=torch.float64)
    probe, params = sharpness(max_hvps=100), torch.ones(1, 200, dtype=torch.float64)
    cold, state = ask(probe, quadratic(eigenvalues), params)
    warm, _ = ask(probe, quadratic(eigenvalues), params, state=state, step=1)
    assert warm.num_hvps.item() < cold.num_hvps.item()
    assert warm.value.item() == pytest.approx(1.0, rel=0.01)


def test_sharpness_over_several_batches_is_mean_lowest_highest_and_the_largest_residual() -> None:
    batches = [Batch((torch.tensor(factor, dtype=torch.float64),)) for factor in (1.0, 2.0, 6.0)]
    probe = sharpness(batch=ProbeBatch(count=3))
    reading, state = ask(probe, scaled_quadratic(RESONANT), torch.ones(2, 4, dtype=torch.float64), batches=batches)
    assert reading.lower.tolist() == pytest.approx([5.0] * 2)
    assert reading.value.tolist() == pytest.approx([15.0] * 2)
    assert reading.upper.tolist() == pytest.approx([30.0] * 2)
    assert reading.num_hvps.tolist() == [12, 12]
    assert state["warm"].shape == (2, 3, 4)


def test_one_batch_has_lower_and_upper_at_its_value() -> None:
    reading, _ = ask(sharpness(), quadratic(RESONANT), torch.ones(1, 4, dtype=torch.float64))
    assert reading.lower == reading.value == reading.upper


def test_the_random_direction_depends_on_the_step_and_not_on_the_pack() -> None:
    objective, _, batch, params = small_mlp()
    first, _ = ask(sharpness(), objective, params, batches=[batch], step=3)
    again, _ = ask(sharpness(), objective, params, batches=[batch], step=3)
    other, _ = ask(sharpness(), objective, params, batches=[batch], step=4)
    assert torch.equal(first.value, again.value)
    assert not torch.equal(first.value, other.value)


# --- budget ---


@pytest.mark.parametrize(
    ("left", "points_left", "expected"), [(40, 9, 4), (3, 0, 3), (8, 1, 4), (0, 0, 0), (100, 0, 24)]
)
def test_a_point_leaves_four_products_for_each_point_to_come(left: int, points_left: int, expected: int) -> None:
    # evenly spread eigenvalues and a tolerance that cannot be met: the point takes all it may
    probe, eigenvalues = sharpness(relative_tolerance=1e-12), torch.linspace(-1, 1, 300, dtype=torch.float64)
    start = torch.ones(1, 300, dtype=torch.float64)
    reading, _ = ask(probe, quadratic(eigenvalues), start, hvps_left=left, points_left=points_left)
    assert reading.num_hvps.item() == expected
    assert not reading.converged.item()


@pytest.mark.proof
@given(num_points=st.integers(1, 12), per_point=st.integers(4, 10))
@settings(max_examples=20, deadline=None)
def test_all_points_together_stay_within_the_pool_and_none_starves(num_points: int, per_point: int) -> None:
    probe, eigenvalues = sharpness(relative_tolerance=1e-12), torch.linspace(-1, 1, 100, dtype=torch.float64)
    left, state = num_points * per_point, None
    for point in range(num_points):
        reading, state = ask(
            probe,
            quadratic(eigenvalues),
            torch.ones(1, 100, dtype=torch.float64),
            state=state,
            hvps_left=left,
            points_left=num_points - point - 1,
            step=point,
        )
        left -= int(reading.num_hvps.item())
        assert MIN_HVPS <= reading.num_hvps.item() <= 24
    assert left >= 0


# --- measuring changes nothing ---


@pytest.mark.parametrize("probe", [sharpness(), secant()], ids=["sharpness", "secant"])
def test_measuring_leaves_parameters_and_random_streams_bit_identical(probe: Probe) -> None:
    objective, _, batch, params = small_mlp(torch.float32)
    before, numpy_before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    kept, ahead = params.clone(), params * 0.99
    ask(probe, objective, params, batches=[batch], next_params=ahead)
    assert torch.equal(params, kept)
    assert torch.equal(ahead, kept * 0.99)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)
    assert params.grad is None


def test_state_that_came_back_from_a_checkpoint_gives_the_same_bits() -> None:
    objective, _, batch, params = small_mlp(torch.float32)
    probe = sharpness()
    _, state = ask(probe, objective, params, batches=[batch])
    restored = {name: torch.from_numpy(tensor.numpy().copy()) for name, tensor in state.items()}
    straight, _ = ask(probe, objective, params * 1.01, batches=[batch], state=state, step=10)
    resumed, _ = ask(sharpness(), objective, params * 1.01, batches=[batch], state=restored, step=10)
    assert torch.equal(straight.value, resumed.value)
    assert torch.equal(straight.num_hvps, resumed.num_hvps)


@pytest.mark.proof
@pytest.mark.slow
def test_hundreds_of_points_leave_memory_flat() -> None:
    objective, _, batch, params = small_mlp(torch.float32)
    probe, state = sharpness(), None
    for step in range(100):
        _, state = ask(probe, objective, params, batches=[batch], state=state, step=step)
    gc.collect()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for step in range(400):
        _, state = ask(probe, objective, params, batches=[batch], state=state, step=step)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8_000  # kB
