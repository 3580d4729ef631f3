"""Numbers that papers state of their schedules (design/papers.md sections 2, 5 and 7; design/theory.md T13)."""

import math

import numpy as np
import pytest

from schemas.schedules import Schedule
from schemas.second_moment import first_rectified, radam_factor, rho, rho_limit
from workers.schedules import decay_factors, factors, warmup_factors

LINEAR = {"kind": "linear"}
PIECEWISE = {"kind": "piecewise_linear", "knee_position": 0.5, "knee_factor": 0.1}
POLYNOMIAL = {"kind": "polynomial", "alpha": 1.5}
CONVEX = {"kind": "exponential_convex", "alpha": 1.5}


def schedule(warmup, decay="constant", convention="ours", **decay_fields):
    document = {"warmup": warmup, "decay": {"kind": decay, **decay_fields}, "convention": convention}
    return Schedule.model_validate(document)


def rising(warmup, steps):
    return warmup_factors(schedule({**warmup, "steps": steps}).warmup, steps)


# arXiv 2505.23420: i/w, then linear, piecewise, polynomial 1.5, exponential 1.5
TABLE = [
    (0.02, 0.02, 0.004, 0.00283, 0.00875),
    (0.10, 0.10, 0.020, 0.03162, 0.04648),
    (0.25, 0.25, 0.050, 0.12500, 0.13068),
    (0.50, 0.50, 0.100, 0.35355, 0.32082),
    (0.75, 0.75, 0.550, 0.64952, 0.59747),
    (0.90, 0.90, 0.820, 0.85381, 0.82070),
]


@pytest.mark.parametrize("row", TABLE)
def test_four_warmups_pass_through_the_table_of_arxiv_2505_23420(row):
    position, *expected = row
    update = round(position * 100) - 1
    found = [rising(warmup, 100)[update] for warmup in (LINEAR, PIECEWISE, POLYNOMIAL, CONVEX)]
    assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("warmup", [LINEAR, PIECEWISE, POLYNOMIAL, CONVEX], ids=lambda each: each["kind"])
def test_at_twice_the_warmup_they_share_the_tail_of_the_inverse_square_root(warmup):
    ours = factors(schedule({**warmup, "steps": 50}, "inverse_sqrt"), 200)
    theirs = factors(schedule({**warmup, "steps": 50}, "inverse_sqrt", "fairseq"), 200)
    assert ours[99] == theirs[100] == pytest.approx(math.sqrt(0.5), abs=1e-15)
    # the same curve, one update later
    np.testing.assert_allclose(ours[:-1], theirs[1:], atol=1e-14)
    assert theirs[0] == 0.0


def test_the_authors_own_unit_test_of_the_piecewise_warmup():
    spec = schedule({**PIECEWISE, "steps": 50_000}, "inverse_sqrt", "fairseq")
    found = 0.1 * factors(spec, 100_001)[[0, 1000, 25_000, 30_000, 50_000, 100_000]]
    np.testing.assert_allclose(found, [0, 0.0004, 0.01, 0.028, 0.1, 0.0707107], rtol=0, atol=5e-8)


def test_polynomial_and_exponential_cross_where_the_table_says():
    polynomial, convex = rising(POLYNOMIAL, 10**6), rising(CONVEX, 10**6)
    crossing = np.flatnonzero(polynomial > convex)[0] + 1
    assert crossing / 10**6 == pytest.approx(0.29247, abs=1e-5)


def geometric_area(start):
    return (1 - start) / math.log(1 / start)


AREAS = [
    (LINEAR, 0.5),
    (PIECEWISE, 0.3),
    (POLYNOMIAL, 0.4),
    (CONVEX, 0.37945),
    ({"kind": "sqrt"}, 2 / 3),
    ({"kind": "cosine"}, 0.5),
    ({"kind": "geometric", "start_factor": 0.01}, geometric_area(0.01)),
    ({"kind": "constant_low", "factor": 0.1}, 0.1),
]


@pytest.mark.parametrize(("warmup", "area"), AREAS, ids=[each["kind"] for each, _ in AREAS])
def test_the_area_under_a_warmup_is_that_of_its_curve(warmup, area):
    assert rising(warmup, 10**6).mean() == pytest.approx(area, abs=1e-5)
    assert 1 / 1.5 - 1 / math.expm1(1.5) == pytest.approx(0.37945, abs=1e-5)


def test_small_warmups_by_hand():
    np.testing.assert_allclose(rising({"kind": "sqrt"}, 4), [0.5, math.sqrt(0.5), math.sqrt(0.75), 1], atol=1e-15)
    np.testing.assert_allclose(rising({"kind": "cosine"}, 3), [0.25, 0.75, 1], atol=1e-15)
    np.testing.assert_allclose(rising({"kind": "geometric", "start_factor": 0.001}, 3), [0.01, 0.1, 1], atol=1e-15)
    np.testing.assert_allclose(rising({"kind": "constant_low", "factor": 0.1}, 3), [0.1, 0.1, 1], atol=0)
    np.testing.assert_allclose(rising({**PIECEWISE, "start_factor": 0.02}, 4), [0.06, 0.1, 0.55, 1], atol=1e-15)


BETA2 = 0.999


def test_radam_has_the_factors_of_its_paper():
    assert rho_limit(BETA2) == pytest.approx(1999, abs=1e-9)
    assert rho(4.0, BETA2) == pytest.approx(3.9975, abs=5e-5)
    assert rho(5.0, BETA2) == pytest.approx(4.9960, abs=5e-5)
    assert first_rectified(BETA2) == 5
    expected = {5: 0.01731, 6: 0.02582, 100: 0.21534, 1000: 0.6453, 10_000: 0.99977}
    for t, factor in expected.items():
        digits = len(str(factor)) - 2
        assert radam_factor(float(t), BETA2) == pytest.approx(factor, abs=0.6 * 10**-digits), t
    found = factors(schedule({"kind": "radam", "beta2": BETA2}), 10_000)
    # update 0 has the factor of t = 5
    assert found[[0, 1, 95, 995, 9995]] == pytest.approx(list(expected.values()), abs=6e-5)


@pytest.mark.parametrize("beta2", [0.8, 0.9, 0.95, 0.98, 0.99, 0.999, 0.9999, 0.99999])
def test_the_first_rectified_step_is_5_for_all_usual_betas(beta2):
    assert first_rectified(beta2) == 5


@pytest.mark.parametrize("beta2", [0.6000001, 0.61, 0.7, 0.79])
def test_below_them_it_is_the_first_whose_rho_exceeds_4(beta2):
    first = first_rectified(beta2)
    assert rho(float(first - 1), beta2) <= 4 < rho(float(first), beta2)
    assert np.all(np.isfinite(factors(schedule({"kind": "radam", "beta2": beta2}), 300)))


def test_untuned_warmups_have_the_numbers_of_their_paper():
    linear = factors(schedule({"kind": "untuned_linear", "beta2": BETA2}), 5_000)
    assert linear[1998] < 1.0 == linear[1999], "reaches 1 at t = 2000"
    assert linear[999] == pytest.approx(0.5, abs=1e-12)
    exponential = factors(schedule({"kind": "untuned_exponential", "beta2": BETA2}), 5_000)
    assert exponential[999] == pytest.approx(0.632, abs=5e-4)


def effective_length(warmup, total_steps=200_000):
    return float(np.sum(1.0 - factors(schedule(warmup), total_steps)))


def test_the_effective_lengths_of_the_untuned_set_agree():
    assert effective_length({"kind": "untuned_linear", "beta2": BETA2}) == pytest.approx(999.5, abs=1e-6)
    exponential = effective_length({"kind": "untuned_exponential", "beta2": BETA2})
    assert exponential == pytest.approx(1 / math.expm1(1e-3), abs=1e-6) == pytest.approx(999.5, abs=1e-3)
    assert effective_length({"kind": "exponential_concave", "tau_steps": 1000.0}) == pytest.approx(999.5, abs=1e-3)
    # that of the unshifted factor, which is none for t < 5
    unshifted = effective_length({"kind": "radam", "beta2": BETA2}) + 4
    assert unshifted == pytest.approx(1033.3, abs=0.05)


@pytest.mark.parametrize(
    ("beta2", "length"), [(0.999, 2000), (0.98, 100), (0.95, 40), (0.9, 20), (0.997, 667), (0.0, 2)]
)
def test_the_untuned_linear_warmup_is_as_long_as_the_second_moment_says(beta2, length):
    spec = schedule({"kind": "untuned_linear", "beta2": beta2})
    assert spec.end_step(10_000) == length
    found = factors(spec, 10_000)
    expected = np.minimum(1.0, (1.0 - beta2) * np.arange(1, 10_001) / 2)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_noam_is_the_rate_of_the_first_transformer():
    width, warmup_steps = 512, 4000
    t = np.arange(1, 20_001, dtype=float)
    paper = width**-0.5 * np.minimum(t**-0.5, t * warmup_steps**-1.5)
    peak_lr = (width * warmup_steps) ** -0.5
    ours = peak_lr * factors(schedule({"kind": "none"}, "noam", warmup_steps=warmup_steps), 20_000)
    np.testing.assert_allclose(ours, paper, rtol=1e-13)
    # and of a linear warmup with an inverse square root behind it
    same = factors(schedule({"kind": "linear", "steps": warmup_steps}, "inverse_sqrt"), 20_000)
    np.testing.assert_allclose(ours, peak_lr * same, rtol=1e-13)


def test_exponential_decay_by_hand():
    by_gamma = decay_factors(schedule({"kind": "none"}, "exponential", gamma=0.5).decay, 2, 5)
    np.testing.assert_array_equal(by_gamma, [1, 1, 0.5, 0.25, 0.125])
    by_end = decay_factors(schedule({"kind": "none"}, "exponential", end_factor=0.01).decay, 1, 4)
    np.testing.assert_allclose(by_end, [1, 10**-0.5, 0.1, 10**-1.5], rtol=1e-15)


COOLDOWNS = [
    ({"cooldown": "linear"}, [1, 1, 1, 1, 3 / 4, 2 / 4, 1 / 4]),
    ({"cooldown": "linear", "floor": 0.2}, [1, 1, 1, 1, 0.8, 0.6, 0.4]),
    ({"cooldown": "one_minus_sqrt"}, [1, 1, 1, 1, 1 - math.sqrt(1 / 4), 1 - math.sqrt(2 / 4), 1 - math.sqrt(3 / 4)]),
    ({"cooldown": "exponential", "half_life_steps": 1.0}, [1, 1, 1, 1, 1 / 2, 1 / 4, 1 / 8]),
    ({"cooldown": "exponential", "half_life_steps": 2.0}, [1, 1, 1, 1, 0.5**0.5, 1 / 2, 0.5**1.5]),
]


@pytest.mark.parametrize(("fields", "expected"), COOLDOWNS)
def test_wsd_keeps_the_peak_and_cools_down_over_the_last_updates(fields, expected):
    spec = schedule({"kind": "linear", "steps": 2}, "wsd", cooldown_steps=3, **fields)
    found = factors(spec, 7)
    assert found[0] == 0.5
    np.testing.assert_allclose(found[1:], expected[1:], rtol=1e-15)


def test_a_cooldown_over_all_that_is_left_is_the_linear_decay():
    wsd = factors(schedule({"kind": "linear", "steps": 4}, "wsd", cooldown_steps=16), 20)
    np.testing.assert_allclose(wsd, factors(schedule({"kind": "linear", "steps": 4}, "linear"), 20), atol=1e-15)
    none = factors(schedule({"kind": "linear", "steps": 4}, "wsd", cooldown_steps=0), 20)
    np.testing.assert_array_equal(none, factors(schedule({"kind": "linear", "steps": 4}), 20))


def test_one_cycle_in_three_phases_by_hand():
    spec = schedule(
        {"kind": "none"}, "one_cycle", warmup_fraction=0.25, anneal="linear", three_phase=True, div_factor=4.0
    )
    # up over 2 of 8, down over as many, and on to 1 / 40,000
    found = factors(spec, 8)
    np.testing.assert_allclose(found[:4], [0.625, 1, 0.625, 0.25], atol=1e-15)
    np.testing.assert_allclose(found[4:], 0.25 - (0.25 - 1 / 40_000) * np.arange(1, 5) / 5, atol=1e-15)
