"""T2: what is planted is found again: least squares, the joint optimum, and the envelope."""

import numpy as np
import pytest

from tests.laws import controls
from workers.laws.envelope import fit_envelope
from workers.laws.judging import LawAnswer, judge
from workers.laws.least_squares import fit_power
from workers.laws.optimum_fit import fit_optimum

GAPS = np.geomspace(1e-4, 1e3, 300)
PLANTED = {
    "F1": (1.0, 1.0, 1.0),
    "F1 with k0 2, k1 3": (1.0, 2.0, 3.0),
    "F2, p = 4": (0.5, 0.0, 12.0),
    "F2, p = 6": (2 / 3, 0.0, 30.0),
    "F3": (1.0, 0.0, 1.0),
    "F4, q = 2": (2.0, 0.0, 6.0),
    "F6 on the ray": (0.5, 2.0, 3 * 2**0.5),
}


@pytest.mark.parametrize("name", PLANTED)
def test_the_planted_law_is_found_to_far_below_one_percent(name):
    rho, k0, k_rho = PLANTED[name]
    law = fit_power(GAPS, k0 + k_rho * GAPS**rho).law()
    assert (law.rho, law.k_rho) == pytest.approx((rho, k_rho), rel=1e-6)
    assert law.k0 == pytest.approx(k0, rel=1e-6, abs=1e-9)


def test_the_law_is_found_on_the_paths_of_gradient_descent():
    """F1 from a gap of 1000, F2 and F4 as in T4: where training really goes, not on a grid."""
    paths = {
        (1.0, 1.0, 1.0): (lambda w: np.cosh(w) - 1, np.sinh, np.cosh, np.arccosh(1001.0), (0.001, 0.004, 0.012)),
        (0.5, 0.0, 12.0): (lambda w: w**4, lambda w: 4 * w**3, lambda w: 12 * w**2, 10.0, (5e-4, 1e-3, 2e-3)),
        (2.0, 0.0, 6.0): (lambda w: w**-2, lambda w: -2 * w**-3, lambda w: 6 * w**-4, 0.1, (2e-5, 5e-5, 1e-4)),
    }
    for (rho, k0, k_rho), (value, slope, curvature, start, rates) in paths.items():
        points = controls.descent(value, slope, curvature, start, rates, 400).usable()
        law = fit_power(points.gap, points.curvature).law()
        assert (law.rho, law.k_rho) == pytest.approx((rho, k_rho), rel=0.01)
        assert law.k0 == pytest.approx(k0, rel=0.01, abs=1e-4)


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_the_exponent_of_a_deep_scalar_net_is_asymptotically_1_minus_1_over_its_depth(depth):
    s = np.geomspace(10, 1e4, 200)
    product, along = s**depth, s ** (2 * depth - 2)
    curvature = along + (depth - 1) * (along + (product - 1) * s ** (depth - 2))
    law = fit_power(0.5 * (product - 1) ** 2, curvature).law()
    assert law.rho == pytest.approx(1 - 1 / depth, rel=0.01)
    assert law.k_rho == pytest.approx((2 * depth - 1) * 2**law.rho, rel=0.01)


def test_the_logistic_function_is_said_to_be_no_power_law():
    value, slope = lambda w: np.logaddexp(0, -w), lambda w: -1 / (1 + np.exp(w))
    curvature = lambda w: 1 / (2 + 2 * np.cosh(w))  # noqa: E731
    points = controls.descent(value, slope, curvature, -4.0, (0.5, 1.0, 2.0, 4.0), 60)
    fit = judge(points)
    assert fit.answer is LawAnswer.NOT_SUPPORTED
    assert any("not a power law" in reason for reason in fit.reasons)


@pytest.mark.parametrize("rho", [0.5, 1.0, 2.0])
def test_an_unknown_optimum_is_found_and_without_it_the_slope_is_wrong_by_its_formula(rho):
    loss = 2.5 + np.geomspace(1e-2, 10, 300)
    curvature = 3 * (loss - 2.5) ** rho
    fit = fit_optimum(loss, curvature)
    assert fit.optimum[0] == pytest.approx(2.5, rel=1e-3)
    assert (fit.rho[0], fit.k_rho[0]) == pytest.approx((rho, 3.0), rel=0.01)
    assert not fit.at_rim[0]
    near = np.array([3.0, 3.0 * 1.001])
    slope = np.diff(np.log(3 * (near - 2.5) ** rho)) / np.diff(np.log(near))
    assert slope[0] == pytest.approx(rho * 3.0 / 0.5, rel=0.01)


def test_where_nothing_holds_the_optimum_it_goes_to_the_rim_and_says_so():
    loss = np.geomspace(1.0, 10.0, 100)
    assert fit_optimum(loss, np.exp(loss)).at_rim[0]


def test_curvature_that_does_not_rise_gives_a_constant():
    for curvature in (np.full(300, 4.0), 1 / GAPS):
        fit = fit_power(GAPS, curvature)
        assert (fit.rho[0], fit.k_rho[0]) == (0.0, 0.0)
        assert fit.law().at([1.0, 2.0]).tolist() == pytest.approx([np.exp(np.log(curvature).mean())] * 2)
    assert fit_power(np.full(30, 2.0), np.linspace(1, 2, 30)).law().k_rho == 0.0


def test_weights_are_as_if_points_were_repeated():
    random = np.random.default_rng(3)
    curvature = (1 + 2 * GAPS) * np.exp(0.3 * random.standard_normal(300))
    counts = random.multinomial(300, np.full(300, 1 / 300), size=3)
    together = fit_power(GAPS, curvature, counts.astype(float))
    for index, count in enumerate(counts):
        alone = fit_power(np.repeat(GAPS, count), np.repeat(curvature, count))
        assert together.rho[index] == pytest.approx(alone.rho[0], rel=1e-5)
        assert together.k0[index] == pytest.approx(alone.k0[0], rel=1e-4)
        assert together.sse[index] == pytest.approx(alone.sse[0], rel=1e-9)


@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.95])
def test_the_envelope_has_its_share_of_points_above_it(quantile):
    random = np.random.default_rng(1)
    curvature = (1 + GAPS) * np.exp(0.3 * random.standard_normal(300))
    law = fit_envelope(GAPS, curvature, quantile)
    assert law.share_violated(GAPS, curvature) == pytest.approx(1 - quantile, abs=0.02)
    assert law.rho == pytest.approx(1.0, abs=0.1)


def test_the_envelope_of_an_exact_law_is_the_law_and_no_point_breaks_the_highest():
    law = fit_envelope(GAPS, 2 + 3 * GAPS)
    np.testing.assert_allclose(law.at(GAPS), 2 + 3 * GAPS, rtol=0.02)
    random = np.random.default_rng(2)
    curvature = (2 + 3 * GAPS) * np.exp(-random.exponential(0.5, 300))
    top = fit_envelope(GAPS, curvature, 1.0)
    assert top.share_violated(GAPS, curvature) == 0.0
    np.testing.assert_allclose(top.at(GAPS), 2 + 3 * GAPS, rtol=0.35)


def test_the_envelope_of_gaps_over_fifty_decades_is_found():
    gaps = np.geomspace(1e-50, 100, 260)
    np.testing.assert_allclose(fit_envelope(gaps, 1 + gaps).at(gaps), 1 + gaps, rtol=0.02)


def test_a_trend_is_no_bound():
    """Least squares goes through the middle: half of the points lie above it, and it is said by how much."""
    fit = judge(controls.lawful(np.random.default_rng(0)))
    assert 0.4 < fit.violated_by_law < 0.6
    assert fit.violated_by_envelope <= 0.06
    assert 1.2 < fit.cover < 2.0
