"""A thinned curve keeps its ends, its spikes and its first non-finite number, within its budget."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.records import thin


def curve(losses: list[float], trial: str = "t", first_step: int = 0) -> pa.Table:
    steps = np.arange(first_step, first_step + len(losses))
    return pa.table({"trial_id": [trial] * len(losses), "step": steps, "train_loss": np.array(losses, np.float64)})


def steps_of(table: pa.Table) -> list[int]:
    return table["step"].to_pylist()


def test_a_curve_within_its_budget_is_kept_whole() -> None:
    whole = curve([3.0, 2.0, 1.0])
    assert thin(whole, 3) == whole


def test_a_long_curve_keeps_its_ends_and_the_extremes_of_each_stretch() -> None:
    losses = [5.0, 4.0, 9.0, 3.0, 3.5, 0.5, 2.0, 1.0, 1.5, 1.2]
    assert steps_of(thin(curve(losses), 7)) == [0, 2, 3, 5, 6, 9]


def test_a_spike_of_one_step_survives() -> None:
    losses = np.linspace(2, 1, 10_000)
    losses[7_123] = 50.0
    assert 7_123 in steps_of(thin(curve(losses.tolist()), 20))


def test_the_step_of_divergence_survives() -> None:
    losses = [*np.linspace(2, 1, 500), *[float("nan")] * 500]
    kept = steps_of(thin(curve(losses), 11))
    assert 500 in kept
    assert kept[-1] == 999


def test_trials_are_thinned_each_by_itself() -> None:
    long, short = curve(list(range(100)), "long"), curve([1.0, 2.0], "short", 40)
    together = thin(pa.concat_tables([short, long]), 9)
    assert together.to_pylist() == thin(short, 9).to_pylist() + thin(long, 9).to_pylist()


def test_rows_in_any_order_give_the_same_points() -> None:
    rows = curve(np.sin(np.arange(300.0)).tolist())
    shuffled = rows.take(np.random.default_rng(0).permutation(300))
    assert thin(shuffled, 20) == thin(rows, 20)


def test_no_rows_stay_no_rows() -> None:
    assert thin(curve([]), 5).num_rows == 0


def test_a_budget_below_three_is_refused() -> None:
    with pytest.raises(ValueError, match="max_points: got 2"):
        thin(curve([1.0]), 2)


@given(
    curves=st.lists(st.lists(st.floats(), min_size=1, max_size=60), min_size=1, max_size=3),
    max_points=st.integers(3, 40),
)
def test_every_trial_keeps_its_ends_and_its_budget(curves: list[list[float]], max_points: int) -> None:
    table = pa.concat_tables([curve(losses, f"t{i}", first_step=10 * i) for i, losses in enumerate(curves)])
    thinned = thin(table, max_points)
    for i, losses in enumerate(curves):
        kept = thinned.filter(pa.array([one == f"t{i}" for one in thinned["trial_id"].to_pylist()], pa.bool_()))
        steps = steps_of(kept)
        assert len(steps) <= max_points
        assert steps == sorted(set(steps))
        assert (steps[0], steps[-1]) == (10 * i, 10 * i + len(losses) - 1)
        finite = [loss for loss in losses if np.isfinite(loss)]
        if finite and max_points >= 5:
            assert max(finite) in kept["train_loss"].to_pylist()
            assert min(finite) in kept["train_loss"].to_pylist()
