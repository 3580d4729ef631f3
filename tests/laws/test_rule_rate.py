"""The rates that three analyses allow at a gap, on floats, arrays and tensors alike."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.schedules import SmoothnessLawWarmup, ZeroOptimum
from workers.laws import rule_rate


def law(rule, **fields):
    fields = {"k0": 1.0, "k_rho": 1.0, **fields}
    return SmoothnessLawWarmup(kind="smoothness_law", rule=rule, optimum=ZeroOptimum(kind="zero"), **fields)


VALUES = [
    # 1 / (K0 + Krho gap^rho)
    ("descent", {}, 0.0, 1.0),
    ("descent", {}, 3.0, 1 / 4),
    ("descent", {"k0": 2.0, "k_rho": 3.0, "rho": 0.5}, 4.0, 1 / 8),
    # c min(1/K0, 1/(3^rho Krho gap^rho)): flat up to the gap K0 / (3 K1) = 1/3
    ("liu", {}, 0.0, 0.5),
    ("liu", {}, 1 / 3, 0.5),
    ("liu", {}, 1.0, 0.5 / 3),
    ("liu", {"c": 1.0, "rho": 2.0}, 2.0, 1 / 36),
    # 1 / (10 K0 + 20 K1 gap)
    ("alimisis", {}, 0.0, 0.1),
    ("alimisis", {}, 1.0, 1 / 30),
    ("alimisis", {"k0": 2.0, "k_rho": 0.5}, 4.0, 1 / 60),
]


@pytest.mark.parametrize(("rule", "fields", "gap", "expected"), VALUES)
def test_a_rule_allows_its_closed_form(rule, fields, gap, expected):
    assert rule_rate(law(rule, **fields), gap) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("rule", ["descent", "liu", "alimisis"])
def test_floats_arrays_and_tensors_agree(rule):
    gaps = [0.0, 1e-6, 0.5, 1.0, 1e3]
    warmup = law(rule, k0=0.5, k_rho=2.0)
    of_floats = [rule_rate(warmup, gap) for gap in gaps]
    np.testing.assert_allclose(rule_rate(warmup, np.array(gaps)), of_floats, rtol=1e-15)
    found = rule_rate(warmup, torch.tensor(gaps, dtype=torch.float64))
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found.numpy(), of_floats, rtol=1e-15)


@pytest.mark.parametrize("rule", ["descent", "liu", "alimisis"])
def test_a_law_without_a_floor_allows_any_rate_at_the_optimum(rule):
    found = rule_rate(law(rule, k0=0.0), torch.zeros(1, dtype=torch.float64))
    assert found.item() == float("inf")


@pytest.mark.parametrize("rule", ["descent", "liu", "alimisis"])
def test_an_infinite_gap_allows_no_rate(rule):
    found = rule_rate(law(rule), torch.tensor([float("inf"), 1.0], dtype=torch.float64))
    assert found[0] == 0.0
    assert found[1] > 0


@pytest.mark.parametrize("rule", ["descent", "liu", "alimisis"])
def test_a_gap_that_is_no_number_gives_a_rate_that_is_no_number(rule):
    assert torch.isnan(rule_rate(law(rule), torch.tensor([float("nan")], dtype=torch.float64))).all()


@pytest.mark.parametrize("rule", ["descent", "liu", "alimisis"])
@settings(max_examples=50, deadline=None)
@given(gaps=st.tuples(st.floats(0, 1e12), st.floats(0, 1e12)), k0=st.floats(1e-6, 1e6), k_rho=st.floats(0, 1e6))
def test_a_smaller_gap_never_allows_a_smaller_rate(rule, gaps, k0, k_rho):
    warmup = law(rule, k0=k0, k_rho=k_rho)
    near, far = rule_rate(warmup, min(gaps)), rule_rate(warmup, max(gaps))
    assert 0 < far <= near


@settings(max_examples=50, deadline=None)
@given(gap=st.floats(0, 1e9), k0=st.floats(1e-3, 1e3), k_rho=st.floats(1e-3, 1e3))
def test_descent_is_the_boldest_of_the_three(gap, k0, k_rho):
    descent, liu, alimisis = (rule_rate(law(rule, k0=k0, k_rho=k_rho), gap) for rule in ("descent", "liu", "alimisis"))
    assert alimisis <= descent * (1 + 1e-12)
    assert liu <= descent * (1 + 1e-12)
