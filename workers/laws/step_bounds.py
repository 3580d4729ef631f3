"""How many updates theory grants, or asks for, to bring a gap down, where curvature is bounded by H0 + H1 gap.

Constants and conditions as in arXiv 2510.03164; mu is that of the Polyak-Lojasiewicz inequality.
"""

import math


def adaptive_step_bound(gap: float, target: float, h0: float, h1: float, mu: float) -> float | None:
    """At most so many updates with eta = 1 / (10 H0 + 20 H1 gap), from `gap` to `target` (Theorem 4.3).

    40 H1 gap / mu + (20 H0 / mu) ln(H0 / (2 H1 target)); None where its condition target < H0 / (2 H1) does not hold.
    """
    if not 0 < target < h0 / (2.0 * h1):
        return None
    return 40.0 * h1 * gap / mu + 20.0 * h0 / mu * math.log(h0 / (2.0 * h1 * target))


def fixed_step_order(gap: float, target: float, h1: float, mu: float) -> float:
    """At least of this order with a fixed rate, over the class of functions (Theorem 4.1, part 3); gap > target.

    H1 / (4 mu) gap / (ln gap + 1) ln(gap / target). No bound of a single function: a rate may meet its minimum at once.
    """
    return h1 / (4.0 * mu) * gap / (math.log(gap) + 1.0) * math.log(gap / target)
