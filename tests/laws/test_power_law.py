"""T1: which functions are in the class, exactly; and what a bound says of points."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import jacrev

from schemas import functions as spec
from schemas.workloads import Start
from workers.laws.power_law import PowerLaw, smallest_k0
from workers.science.functions import BUILDERS

GAPS = np.geomspace(1e-6, 1e3, 60)
EXACT = [
    spec.Cosh(kind="cosh"),
    spec.Cosh(kind="cosh", k0=2.0, k1=0.5),
    spec.Power(kind="power", p=4),
    spec.Power(kind="power", p=6),
    spec.Exponential(kind="exponential"),
    spec.InversePower(kind="inverse_power", q=2.0),
    spec.InversePower(kind="inverse_power", q=3.0),
]


def curvature_of(function, points):
    """The spectral norm of the Hessian at each point, by automatic differentiation of what is trained."""
    hessian = jacrev(jacrev(function.value))
    return np.array([torch.linalg.eigvalsh(hessian(point)).abs().max().item() for point in points])


@pytest.mark.parametrize("kind", EXACT, ids=str)
def test_the_hessian_of_f1_to_f4_is_the_law(kind):
    function = BUILDERS[kind.kind](kind)
    points = [function.start(Start(gap=float(gap))) for gap in GAPS]
    gaps = np.array([function.value(point).item() for point in points]) - function.optimum
    law = PowerLaw(function.law.rho, function.law.k0, function.law.k_rho)
    np.testing.assert_allclose(curvature_of(function, points) / law.at(gaps), 1.0, rtol=0, atol=1e-10)


def test_f6_breaks_every_finite_k0():
    function = BUILDERS["scalar_net"](spec.ScalarNet(kind="scalar_net", depth=2))
    t = np.array([1.0, 10.0, 100.0, 1000.0])
    points = [torch.tensor([each, 1 / each], dtype=torch.float64) for each in t]
    gaps = np.array([function.value(point).item() for point in points])
    np.testing.assert_allclose(gaps, 0.0, atol=1e-28)
    curvature = curvature_of(function, points)
    np.testing.assert_allclose(curvature, t**2 + t**-2, rtol=1e-10)
    for rho, k_rho in ((0.5, 3 * 2**0.5), (1.0, 1e6), (2.0, 1e12)):
        needed = [smallest_k0(rho, k_rho, gaps[:n], curvature[:n]) for n in range(1, 5)]
        np.testing.assert_allclose(needed, (t**2 + t**-2), rtol=1e-9)
        for k0 in (1.0, 1e3, 9e5):
            assert PowerLaw(rho, k0, k_rho).share_violated(gaps, curvature) > 0


def test_f6_is_in_the_class_on_its_balanced_ray():
    s = np.geomspace(1.0, 1e3, 50)
    gaps = 0.5 * (s**2 - 1) ** 2
    hessians = np.array([[[a * a, 2 * a * a - 1], [2 * a * a - 1, a * a]] for a in s])
    curvature = np.abs(np.linalg.eigvalsh(hessians)).max(axis=1)
    np.testing.assert_allclose(curvature / PowerLaw(0.5, 2.0, 3 * 2**0.5).at(gaps), 1.0, atol=1e-10)


def test_the_share_violated_counts_points_above_and_forgives_rounding():
    law = PowerLaw(1.0, 1.0, 2.0)
    assert law.share_violated([1.0, 1.0, 1.0, 1.0], [2.9, 3.0, 3.0 * (1 + 1e-12), 3.1]) == 0.25
    assert np.isnan(law.share_violated([], []))


@settings(max_examples=40, deadline=None)
@given(rho=st.floats(0.1, 4), k0=st.floats(0, 1e3), k_rho=st.floats(1e-3, 1e3), gap=st.floats(1e-6, 1e6))
def test_the_slope_is_the_derivative_in_log_log(rho, k0, k_rho, gap):
    law, step = PowerLaw(rho, k0, k_rho), 1e-5
    near, far = law.at([gap * np.exp(-step), gap * np.exp(step)])
    assert law.slope([gap])[0] == pytest.approx((np.log(far) - np.log(near)) / (2 * step), abs=1e-4)


def test_a_law_of_nothing_has_no_slope():
    assert PowerLaw(1.0, 0.0, 1.0).slope([0.0]).tolist() == [0.0]
