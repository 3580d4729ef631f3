"""The rate of Riabinin and others (arXiv 2602.05813): a warmup and a decay in one function of the gap."""

from torch import Tensor

from workers.laws import riabinin_peak_gap, riabinin_rate
from workers.science.protocols import Observation
from workers.science.rules.gap_rule import GapRule


class RiabininRule(GapRule):
    """rate = scale x gap / (k0 + k1 gap + k2 gap^2), with `latch` held at its maximum behind it.

    Their code hands over to another decay there; ours does where the rate meets peak_lr, as in every closed loop.
    """

    def rate_at(self, gap_n: Tensor, observation: Observation) -> Tensor:
        """The formula, of a gap that is not below the maximum's with `latch`."""
        least = riabinin_peak_gap(self._spec) if self._spec.latch else 0.0
        return riabinin_rate(self._spec, gap_n.clamp(min=least))
