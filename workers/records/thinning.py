"""A long step series cut down to what a display needs: ends, extremes, and the first number that is not finite."""

import numpy as np
import pyarrow as pa


def thin(table: pa.Table, max_points: int, *, value: str = "train_loss") -> pa.Table:
    """At most `max_points` rows of each trial, sorted by (first appearance of the trial, step). Deterministic.

    Kept of each trial: its first and last row, the first row whose `value` is not finite, and the rows with the least
    and the largest finite `value` in each of (max_points - 3) // 2 stretches of equally many steps, so that a spike is
    never thinned away. A trial with no more than `max_points` rows is kept whole.

    Args:
        table: any rows with `trial_id`, `step` and `value`, such as `steps` or `probes` of one probe.
        max_points: at least 3.
        value: the column whose shape is to be kept.
    """
    if max_points < 3:
        raise ValueError(f"max_points: got {max_points}, allowed at least 3")
    if table.num_rows == 0:
        return table
    trial_M = _codes(table["trial_id"])  # M rows
    step_M = table["step"].to_numpy()
    order_M = np.lexsort((step_M, trial_M))
    value_M = table[value].to_numpy()[order_M]
    kept_M = _kept(trial_M[order_M], step_M[order_M], value_M, max_points)
    return table.take(pa.array(order_M[kept_M]))


def _codes(trial_id: pa.ChunkedArray) -> np.ndarray:
    """Each row's trial as a number, in order of first appearance."""
    if not pa.types.is_dictionary(trial_id.type):
        trial_id = trial_id.dictionary_encode()
    codes_M = pa.chunked_array([chunk.indices for chunk in trial_id.unify_dictionaries().chunks], pa.int32()).to_numpy()
    code_N, first_N, place_M = np.unique(codes_M, return_index=True, return_inverse=True)
    rank_N = np.empty(len(code_N), np.int64)
    rank_N[np.argsort(first_N)] = np.arange(len(code_N))
    return rank_N[place_M]


def _kept(trial_M: np.ndarray, step_M: np.ndarray, value_M: np.ndarray, max_points: int) -> np.ndarray:
    """Which rows stay, for rows sorted by (trial, step)."""
    first_N = np.flatnonzero(np.diff(trial_M, prepend=-1))  # N trials
    length_N = np.diff(first_N, append=len(trial_M))
    kept_M = np.repeat(length_N <= max_points, length_N)
    kept_M[first_N] = True
    kept_M[first_N + length_N - 1] = True

    finite_M = np.isfinite(value_M)
    strange = np.flatnonzero(~finite_M)
    kept_M[strange[np.unique(trial_M[strange], return_index=True)[1]]] = True

    num_buckets = (max_points - 3) // 2
    if num_buckets:
        start_M = np.repeat(step_M[first_N], length_N)
        span_M = np.repeat(step_M[first_N + length_N - 1] - step_M[first_N] + 1, length_N)
        group_M = trial_M * num_buckets + (step_M - start_M) * num_buckets // span_M
        kept_M[_extremes(group_M, value_M, np.flatnonzero(finite_M))] = True
    return kept_M


def _extremes(group_M: np.ndarray, value_M: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Of `rows`, the first one with the least and the last one with the largest value in each group."""
    by_value = rows[np.lexsort((value_M[rows], group_M[rows]))]
    starts = np.flatnonzero(np.diff(group_M[by_value], prepend=-1))
    ends = np.append(starts[1:], len(by_value)) - 1 if len(by_value) else starts
    return np.concatenate((by_value[starts], by_value[ends]))
