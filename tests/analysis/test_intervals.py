"""The t interval, Holm's method and the number of seeds against scipy, hand cases and simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from workers.analysis.intervals import holm, mean_interval, seeds_needed


def test_interval_equals_scipys():
    values = [0.12, -0.03, 0.08, 0.05, 0.11]
    ours = mean_interval(values, 0.95)
    reference = stats.ttest_1samp(values, 0.0)
    low, high = reference.confidence_interval(0.95)
    assert (ours.low, ours.high, ours.p) == pytest.approx((low, high, reference.pvalue), rel=1e-12)


def test_interval_of_a_hand_case():
    # mean 2, sd 1, n 3: half width = t(0.975, 2) / sqrt(3) = 4.302653 / 1.732051
    ours = mean_interval([1.0, 2.0, 3.0], 0.95)
    assert (ours.mean, ours.sd, ours.high - 2.0) == pytest.approx((2.0, 1.0, 2.484138), rel=1e-6)


def test_one_value_has_no_interval():
    ours = mean_interval([0.3], 0.95)
    assert ours.mean == 0.3
    assert math.isnan(ours.low)
    assert math.isnan(ours.p)


def test_equal_values_have_an_interval_of_no_width():
    assert mean_interval([0.1] * 3, 0.95).p == 0.0
    assert mean_interval([0.0] * 3, 0.95).p == 1.0


@pytest.mark.parametrize("values", [[], [math.inf, 1.0], [math.nan, 1.0], [math.inf, -math.inf]])
def test_what_is_not_finite_has_no_interval(values):
    assert math.isnan(mean_interval(values, 0.95).low)


def test_holm_of_a_hand_case():
    # sorted 0.01, 0.02, 0.04 -> x3, x2, x1 -> 0.03, 0.04, 0.04
    assert holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])


def test_holm_never_lets_a_larger_p_come_out_smaller():
    p = np.sort(np.random.default_rng(0).random(20))
    adjusted = holm(p.tolist())
    assert adjusted == sorted(adjusted)
    assert all(0 <= given <= made <= 1 for given, made in zip(p, adjusted, strict=True))


@pytest.mark.parametrize("effect", [0.5, 1.0, 2.0])
def test_seeds_needed_gives_the_power_it_promises(effect):
    n = int(seeds_needed(effect, 1.0, 0.95))

    def power(seeds: int) -> float:
        critical = stats.t.ppf(0.975, seeds - 1)
        return float(stats.nct.sf(critical, seeds - 1, effect * math.sqrt(seeds)))

    assert power(n + 2) >= 0.8
    assert power(n - 2) < 0.8


def test_a_margin_makes_a_small_difference_tellable_with_fewer_seeds():
    assert seeds_needed(0.001, 0.02, 0.95, margin=0.01) < seeds_needed(0.001, 0.02, 0.95)


def test_no_number_of_seeds_shows_a_difference_of_nothing():
    assert seeds_needed(0.0, 0.1, 0.95) == math.inf
