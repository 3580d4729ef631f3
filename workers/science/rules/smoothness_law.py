"""The rate that a smoothness law allows at the present gap: small where the loss is high, which is a warmup."""

from torch import Tensor

from workers.laws import rule_rate
from workers.science.protocols import Observation
from workers.science.rules.gap_rule import GapRule


class SmoothnessLawRule(GapRule):
    """rate = scale x rule(gap) (workers.laws.rule_rate has the three rules and their sources)."""

    def rate_at(self, gap_n: Tensor, observation: Observation) -> Tensor:
        """rule(gap)."""
        return rule_rate(self._spec, gap_n)
