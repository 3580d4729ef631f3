"""Thinning keeps the same points however often and in however many parts a curve is published."""

from hypothesis import given
from hypothesis import strategies as st

from workers.tracking.curves import curve, stride


def test_a_short_curve_is_kept_whole():
    points = curve("loss", range(5), [1.0] * 5, epoch_ms=0, every=stride(5, 100))
    assert [point.step for point in points] == [0, 1, 2, 3, 4]


def test_the_timestamp_is_the_studys_creation_plus_a_millisecond_a_step():
    assert [point.timestamp_ms for point in curve("loss", [0, 7], [1, 2], epoch_ms=1_000)] == [1_000, 1_007]


def test_the_last_row_is_kept_whatever_the_stride():
    assert [point.step for point in curve("loss", range(8), [0] * 8, epoch_ms=0, every=5, last_step=7)] == [0, 5, 7]


@given(st.integers(1, 5_000), st.integers(1, 300), st.integers(0, 5_000))
def test_a_curve_in_two_parts_is_the_curve(total_steps, max_points, cut):
    every, steps = stride(total_steps, max_points), list(range(total_steps))
    values = [1 / (step + 1) for step in steps]
    whole = curve("loss", steps, values, epoch_ms=9, every=every, last_step=total_steps - 1)
    parts = [
        point
        for part in (slice(None, cut), slice(cut, None))
        for point in curve("loss", steps[part], values[part], epoch_ms=9, every=every, last_step=total_steps - 1)
    ]
    assert parts == whole
    assert len(whole) <= max_points + 1
