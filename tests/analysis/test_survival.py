"""Steps to a target: first row that meets it, misses censored, median by Kaplan and Meier."""

import math

import pandas as pd
import pytest

from workers.analysis import steps_to_target
from workers.analysis.survival import kaplan_meier_median, steps_by_cell


def test_first_row_that_meets_the_target_counts():
    rows = pd.DataFrame({"trial_id": list("aaab"), "step": [20, 0, 10, 0], "train_loss": [0.1, 0.9, 0.2, 0.5]})
    assert steps_to_target(rows, "train_loss", 0.2).to_dict() == {"a": 10, "b": -1}


def test_an_accuracy_meets_its_target_from_below():
    rows = pd.DataFrame({"trial_id": ["a"] * 3, "step": [0, 5, 10], "validation_accuracy": [0.1, 0.9, 0.95]})
    assert steps_to_target(rows, "validation_accuracy", 0.9).to_dict() == {"a": 5}


def test_nan_never_meets_a_target_and_no_rows_make_no_trials():
    rows = pd.DataFrame({"trial_id": ["a"], "step": [0], "train_loss": [math.nan]})
    assert steps_to_target(rows, "train_loss", 1.0).to_dict() == {"a": -1}
    assert steps_to_target(rows[:0], "train_loss", 1.0).empty


def test_steps_are_int64_and_a_metric_without_column_is_refused():
    rows = pd.DataFrame({"trial_id": ["a"], "step": [0], "train_loss": [0.0]})
    assert steps_to_target(rows, "train_loss", 1.0).dtype == "int64"
    with pytest.raises(ValueError, match="test_loss"):
        steps_to_target(rows, "test_loss", 1.0)


def test_median_without_censoring_is_the_first_time_at_which_half_are_there():
    assert kaplan_meier_median([9, 46, 194], [True] * 3) == 46


def test_kaplan_meier_hand_case():
    # S(2) = 5/6; one censored at 3; S(5) = 5/6 x 3/4 = 0.625; S(7) = 0.625 x 2/3 = 0.4167 <= 1/2
    times, reached = [2, 3, 5, 7, 9, 9], [True, False, True, True, False, False]
    assert kaplan_meier_median(times, reached) == 7


def test_median_is_not_reached_when_fewer_than_half_arrive():
    assert math.isnan(kaplan_meier_median([5, 10, 10, 10], [True, False, False, False]))
    assert math.isnan(kaplan_meier_median([], []))


def test_half_of_an_even_number_is_enough():
    assert kaplan_meier_median([5, 6, 10, 10], [True, True, False, False]) == 6


def test_a_trial_that_diverged_early_counts_as_never_reaching():
    # censored at its 3 steps it would leave the risk set, and the median would be 20 of two
    trials = pd.DataFrame(
        {
            "cell": [0, 0, 0, 0, 1],
            "done": [True, True, True, True, False],
            "steps_to_target": [20, -1, -1, -1, -1],
            "steps_completed": [100, 3, 3, 100, 0],
        }
    )
    diverged, queued = steps_by_cell(trials)
    assert (diverged.reached, diverged.n, math.isnan(diverged.median)) == (1, 4, True)
    assert queued.n == 0
