"""Thinned curves: which rows of a table become MLflow points, and at which time."""

from collections.abc import Sequence

from workers.tracking.publications import MetricPoint


def stride(total_steps: int, max_points: int) -> int:
    """Every how many steps a row is kept, so that a curve has at most about `max_points` of them.

    It depends on the plan alone, never on the rows that happen to be there: the same rows are kept whether a trial is
    published once or in ten parts, and a replay sends the same points.
    """
    return max(1, -(-total_steps // max_points))


def curve(
    key: str,
    steps: Sequence[int],
    values: Sequence[float],
    *,
    epoch_ms: int,
    every: int = 1,
    last_step: int | None = None,
) -> list[MetricPoint]:
    """The points of one curve: rows whose step is a multiple of `every`, and the row at `last_step`.

    The timestamp is `epoch_ms` (the study's creation) plus one millisecond a step: a function of the point.
    """
    return [
        MetricPoint(key, float(value), int(step), epoch_ms + int(step))
        for step, value in zip(steps, values, strict=True)
        if step % every == 0 or step == last_step
    ]
