"""Smoothness laws as formulas, for the closed-loop rules and for the fits."""

from workers.laws.catapult import steps_saved, steps_to_peak
from workers.laws.gap_fraction import polyak_rate, riabinin_peak_gap, riabinin_rate
from workers.laws.gap_power import rule_rate

__all__ = ["polyak_rate", "riabinin_peak_gap", "riabinin_rate", "rule_rate", "steps_saved", "steps_to_peak"]
