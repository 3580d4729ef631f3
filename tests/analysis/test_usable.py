"""The largest usable peak LR, on tables made by hand."""

import math

import pytest

from workers.analysis import analyse


@pytest.fixture
def usable_of(write_trials, small_spec):
    """rows -> schedule -> LargestUsable."""

    def usable(rows, **spec):
        (group,) = analyse(write_trials(rows), {**small_spec, **spec}).groups
        return {each.schedule: each.usable for each in group.contenders}

    return usable


def rows_of(make_row, schedule, losses):
    """losses: rate -> one loss per seed, None for a diverged trial."""
    return [
        make_row(schedule, rate, seed, loss, outcome="trained" if loss is not None else "diverged")
        for rate, by_seed in losses.items()
        for seed, loss in enumerate(by_seed)
    ]


def test_every_seed_must_have_trained_and_come_half_of_the_way(usable_of, make_row):
    # reference ln 10 = 2.303, best cell 0.3: half of the way is 1.301
    none = {0.1: [0.4, 0.5], 0.3: [0.4, 1.4], 1.0: [0.4, None]}
    warm = {0.1: [0.3, 0.3], 0.3: [1.2, 1.3], 1.0: [1.29, 1.31]}
    found = usable_of(rows_of(make_row, "none", none) + rows_of(make_row, "warm", warm))
    assert (found["none"].rate, found["none"].first_unusable_above) == (0.1, 0.3)
    assert (found["warm"].rate, found["warm"].first_unusable_above) == (0.3, 1.0)
    assert not found["warm"].at_edge


def test_at_the_grids_end_it_is_a_lower_bound(usable_of, make_row):
    found = usable_of(rows_of(make_row, "none", {0.1: [0.3], 1.0: [0.4]}))["none"]
    assert (found.rate, found.at_edge) == (1.0, True)
    assert math.isnan(found.first_unusable_above)


def test_a_gap_below_is_said(usable_of, make_row):
    found = usable_of(rows_of(make_row, "none", {0.1: [0.3], 0.3: [None], 1.0: [0.4], 3.0: [None]}))["none"]
    assert (found.rate, found.has_hole) == (1.0, True)


def test_nothing_is_usable_where_everything_diverged(usable_of, make_row):
    found = usable_of(rows_of(make_row, "none", {0.1: [None, None]}))["none"]
    assert math.isnan(found.rate)


def test_a_rate_with_missing_seeds_is_open(usable_of, make_row):
    rows = rows_of(make_row, "none", {0.1: [0.3, 0.3], 0.3: [0.3]})
    found = usable_of([*rows, make_row("none", 0.3, 1, state="running", outcome="")])["none"]
    assert (found.rate, found.unfinished, found.at_edge) == (0.1, True, False)


def test_a_known_optimum_measures_the_way_in_log_gap(usable_of, make_row):
    # start 1000, best 1e-3: half of the way in log gap is 1, far below half of the way in loss
    function = {"name": "w", "task": "analytic", "function": {"kind": "cosh"}}
    rows = [
        make_row("none", rate, 0, start_loss=1000.0, reference_loss=None, final_train_loss=loss)
        for rate, loss in ((0.1, 1e-3), (0.3, 0.9), (1.0, 1.1))
    ]
    assert usable_of(rows, workloads=[function])["none"].rate == 0.3


def test_an_accuracy_measures_the_way_from_chance(usable_of, make_row, small_spec):
    # chance 0.1, best 0.9: half of the way is 0.5
    rows = [
        make_row("none", rate, 0, final_validation_accuracy=accuracy)
        for rate, accuracy in ((0.1, 0.9), (0.3, 0.55), (1.0, 0.45))
    ]
    analysis = {**small_spec["analysis"], "metric": "validation_accuracy"}
    assert usable_of(rows, analysis=analysis)["none"].rate == 0.3
