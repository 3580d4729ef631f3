"""The rate at which one update would just raise the loss, found by updates that are tried and taken back."""

import torch
from torch import Tensor

from workers.science.protocols import LossAfter

MOST_EVALUATIONS = 200
"""Of one search: doublings from the smallest start to the largest peak, and as many halvings as float64 can tell."""


def catapult_rate(
    loss_n: Tensor, loss_after: LossAfter, start_n: Tensor, peak_n: Tensor, delta: float, active_n: Tensor
) -> tuple[Tensor, Tensor]:
    """Rates [n] and forward passes [n] (int64) of the search of arXiv 2406.09405, section 6, by member.

    Doubling from `start_n` until the loss after an update is not below `loss_n`, or the rate is the peak; then
    bisection until that loss is at most (1 + delta) loss. Where it is not below at `start_n` already, `start_n`; where
    it still is at the peak, the peak. A loss that is no number counts as raised. In one dimension, of curvature lambda,
    2 <= rate lambda <= 1 + sqrt(1 + delta). Members that are not `active_n` keep their start, at no cost.

    The losses decide whether to go on, so the host waits for the device once an evaluation.
    """
    upper_n = torch.minimum(start_n, peak_n)
    lower_n = upper_n
    raised_n = torch.full_like(upper_n, torch.inf)
    passes_n = torch.zeros_like(active_n, dtype=torch.int64)
    is_doubling_n, is_bisecting_n = active_n.clone(), torch.zeros_like(active_n)
    for _ in range(MOST_EVALUATIONS):
        is_open_n = is_doubling_n | is_bisecting_n
        if not bool(is_open_n.any()):
            break
        middle_n = 0.5 * (lower_n + upper_n)
        rate_n = torch.where(is_bisecting_n, middle_n, upper_n)
        after_n = loss_after(rate_n, is_open_n).to(torch.float64)
        passes_n = passes_n + is_open_n
        falls_n = after_n < loss_n  # False for what is no number
        is_first_n = passes_n == 1

        # what a doubling step says
        goes_on_n = is_doubling_n & falls_n & (upper_n < peak_n)
        brackets_n = is_doubling_n & ~falls_n & ~is_first_n
        # what a bisection step says
        lower_n = torch.where(is_bisecting_n & falls_n, middle_n, lower_n)
        is_upper_n = is_bisecting_n & ~falls_n
        raised_n = torch.where((is_doubling_n | is_upper_n) & ~falls_n, after_n, raised_n)
        upper_n = torch.where(is_upper_n, middle_n, upper_n)
        lower_n = torch.where(goes_on_n, upper_n, lower_n)
        upper_n = torch.where(goes_on_n, torch.minimum(2.0 * upper_n, peak_n), upper_n)

        is_doubling_n = goes_on_n
        is_near_n = raised_n <= (1.0 + delta) * loss_n  # False for what is no number
        next_middle_n = 0.5 * (lower_n + upper_n)
        has_room_n = (next_middle_n > lower_n) & (next_middle_n < upper_n)
        is_bisecting_n = (brackets_n | is_bisecting_n) & ~is_near_n & has_room_n
    return torch.where(active_n, upper_n, start_n), passes_n
