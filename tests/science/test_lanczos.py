"""Lanczos against spectra that are known in closed form or from a dense decomposition."""

import doctest
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.science.probes import lanczos
from workers.science.probes.lanczos import MIN_HVPS, EigenvalueEstimates, largest_eigenvalue

RESONANT = torch.tensor([5.0, 4.9, 1.0, -7.0], dtype=torch.float64)


def symmetric(size: int, seed: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    entries = torch.randn(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (0.5 * (entries + entries.T)).to(dtype)


def solve(
    operators_NPP: torch.Tensor, *, start: torch.Tensor | None = None, tolerance: float = 1e-10, allowed: int = 200
) -> EigenvalueEstimates:
    num, size = operators_NPP.shape[:2]
    if start is None:
        start = torch.randn(num, size, generator=torch.Generator().manual_seed(0), dtype=operators_NPP.dtype)
    return largest_eigenvalue(
        lambda vectors, rows: torch.bmm(operators_NPP[rows], vectors[:, :, None])[:, :, 0],
        start,
        torch.full((num,), allowed),
        relative_tolerance=tolerance,
    )


def test_the_example_in_the_docstring_is_true() -> None:
    assert doctest.testmod(lanczos) == (0, 3)


def test_diagonal_of_1_to_50_gives_50() -> None:
    found = solve(torch.diag(torch.arange(1.0, 51.0, dtype=torch.float64))[None])
    assert found.value.item() == pytest.approx(50.0, rel=1e-10)
    assert found.converged.item()


def test_largest_algebraic_eigenvalue_is_not_the_largest_in_magnitude() -> None:
    found = solve(torch.diag(RESONANT)[None], tolerance=0.01)
    assert found.value.item() == pytest.approx(5.0, rel=1e-12)


def test_a_warm_start_near_the_second_eigenvector_is_not_believed() -> None:
    start = torch.tensor([[0.05, 1.0, 0.05, 0.05]], dtype=torch.float64)
    found = solve(torch.diag(RESONANT)[None], start=start, tolerance=0.01)
    assert found.value.item() == pytest.approx(5.0, rel=1e-12)


def test_all_negative_spectrum_gives_the_one_nearest_zero() -> None:
    found = solve(torch.diag(torch.tensor([-1.0, -2.0, -3.0], dtype=torch.float64))[None])
    assert found.value.item() == pytest.approx(-1.0, rel=1e-12)


@pytest.mark.parametrize(("dtype", "relative"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_random_symmetric_operators_agree_with_a_dense_decomposition(dtype: torch.dtype, relative: float) -> None:
    operators = torch.stack([symmetric(40, seed, dtype) for seed in range(5)])
    found = solve(operators, tolerance=relative)
    expected = torch.linalg.eigvalsh(operators.double())[:, -1]
    assert torch.allclose(found.value, expected, rtol=relative, atol=0)
    assert found.converged.all()


def test_the_vector_is_the_unit_eigenvector() -> None:
    operator = symmetric(30, 3)
    found = solve(operator[None])
    vector = found.vector[0]
    assert vector.norm().item() == pytest.approx(1.0, abs=1e-12)
    assert torch.allclose(operator @ vector, found.value[0] * vector, atol=1e-8)


def test_zero_operator_gives_zero_and_has_converged() -> None:
    found = solve(torch.zeros(1, 6, 6, dtype=torch.float64))
    assert (found.value.item(), found.residual.item(), found.num_hvps.item()) == (0.0, 0.0, 1)
    assert found.converged.item()


def test_multiple_of_the_identity_is_exact_after_one_product() -> None:
    found = solve(3.0 * torch.eye(6, dtype=torch.float64)[None])
    assert found.value.item() == pytest.approx(3.0, rel=1e-14)
    assert (found.residual.item(), found.num_hvps.item()) == (0.0, 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_low_rank_operator_ends_in_its_invariant_subspace(dtype: torch.dtype) -> None:
    factors = torch.randn(2, 50, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    operator = factors.T @ factors
    found = solve(operator[None].to(dtype), tolerance=1e-30)
    assert found.num_hvps.item() <= 4  # two eigenvalues and zero
    assert found.residual.item() == 0.0
    assert found.value.item() == pytest.approx(torch.linalg.eigvalsh(operator)[-1].item(), rel=1e-5)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_fewer_parameters_than_minimum_products_is_exact(size: int) -> None:
    operator = symmetric(size, 7)
    found = solve(operator[None])
    assert size < MIN_HVPS
    assert found.value.item() == pytest.approx(torch.linalg.eigvalsh(operator)[-1].item(), rel=1e-12)
    assert found.num_hvps.item() <= size


def test_zero_start_gives_nan_for_no_products() -> None:
    found = solve(torch.eye(3, dtype=torch.float64)[None], start=torch.zeros(1, 3, dtype=torch.float64))
    assert math.isnan(found.value.item())
    assert (found.num_hvps.item(), found.converged.item()) == (0, False)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_product_that_is_not_finite_does_not_touch_its_neighbours(bad: float) -> None:
    operators = torch.stack([symmetric(20, seed) for seed in range(3)])
    alone = solve(operators)
    operators[1, 4, 4] = bad
    found = solve(operators)
    assert math.isnan(found.value[1].item())
    assert not found.converged[1].item()
    assert (found.vector[1] == 0).all()
    for neighbour in (0, 2):
        assert found.value[neighbour].item() == pytest.approx(alone.value[neighbour].item(), rel=1e-13)


def test_an_allowance_that_runs_out_is_not_converged_and_says_what_it_cost() -> None:
    operators = torch.stack([symmetric(60, 1)] * 3)
    start = torch.randn(1, 60, generator=torch.Generator().manual_seed(5), dtype=torch.float64).repeat(3, 1)
    found = largest_eigenvalue(
        lambda vectors, rows: torch.bmm(operators[rows], vectors[:, :, None])[:, :, 0],
        start,
        torch.tensor([0, 3, 60]),
        relative_tolerance=1e-10,
    )
    assert found.num_hvps[:2].tolist() == [0, 3]
    assert found.converged.tolist() == [False, False, True]
    assert math.isnan(found.value[0].item())
    assert found.value[1] <= found.value[2]


def test_finished_operators_get_no_more_products() -> None:
    """Four easy operators and four hard ones: the pack halves once the easy ones are done."""
    easy = torch.diag(torch.tensor([9.0] + [0.0] * 39, dtype=torch.float64))
    operators = torch.stack([easy] * 4 + [symmetric(40, seed) for seed in range(4)])
    sizes: list[int] = []

    def hvp(vectors: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        sizes.append(len(rows))
        return torch.bmm(operators[rows], vectors[:, :, None])[:, :, 0]

    start = torch.randn(8, 40, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found = largest_eigenvalue(hvp, start, torch.full((8,), 40), relative_tolerance=1e-8)
    assert sizes[:2] == [8, 8]
    assert sizes[2:6] == [4] * 4
    assert len(set(sizes)) <= 4
    assert found.converged.all()
    assert sizes == sorted(sizes, reverse=True)


def test_an_operator_that_is_not_symmetric_has_its_asymmetry_in_the_residual() -> None:
    operator = symmetric(30, 2)
    skew = torch.triu(torch.full((30, 30), 0.05, dtype=torch.float64), 1)
    found = solve((operator + skew - skew.T)[None], tolerance=1e-6, allowed=30)
    assert not found.converged.item()


@given(size=st.integers(2, 30), seed=st.integers(0, 10**6), num_hvps=st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_a_ritz_value_is_a_lower_bound_and_some_eigenvalue_lies_within_its_residual(
    size: int, seed: int, num_hvps: int
) -> None:
    operator = symmetric(size, seed)
    found = solve(operator[None], tolerance=1e-3, allowed=num_hvps)
    spectrum = torch.linalg.eigvalsh(operator)
    value, residual = found.value.item(), found.residual.item()
    rounding = 1e-12 * spectrum.abs().max().item()
    assert value <= spectrum[-1].item() + rounding
    assert (spectrum - value).abs().min().item() <= residual + rounding
    assert found.num_hvps.item() <= min(num_hvps, size)


@pytest.mark.slow
@given(num=st.integers(2, 9), seed=st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_batched_equals_one_at_a_time(num: int, seed: int) -> None:
    operators = torch.stack([symmetric(12, seed + index) for index in range(num)])
    start = torch.randn(num, 12, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    together = solve(operators, start=start, tolerance=1e-4)
    for index in range(num):
        alone = solve(operators[index : index + 1], start=start[index : index + 1], tolerance=1e-4)
        assert together.value[index].item() == pytest.approx(alone.value.item(), rel=1e-9, abs=1e-12)
        assert together.converged[index] == alone.converged[0]


@given(scale=st.floats(-30, 30).map(lambda power: 10.0**power))
@settings(max_examples=20, deadline=None)
def test_the_estimate_scales_with_the_operator(scale: float) -> None:
    operator = symmetric(15, 11)
    assert np.isclose(solve(scale * operator[None]).value.item(), scale * solve(operator[None]).value.item(), rtol=1e-9)


@pytest.mark.parametrize(("overlap", "expected"), [(0.9, 5), (0.01, 12)])
def test_a_ritz_vector_with_little_of_the_start_in_it_needs_more_steps(overlap: float, expected: int) -> None:
    """Its residual is small after two steps either way."""
    eigenvalues = torch.cat([torch.tensor([9.0]), 1e-3 * torch.rand(39, generator=torch.Generator().manual_seed(3))])
    start = torch.full((1, 40), math.sqrt((1 - overlap**2) / 39))
    start[0, 0] = overlap
    found = solve(torch.diag(eigenvalues).double()[None], start=start.double(), tolerance=0.01)
    assert found.converged.item()
    assert found.num_hvps.item() == expected
