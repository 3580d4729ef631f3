"""Smoothness laws as formulas, for the closed-loop rules and for the fits."""

from workers.laws.gap_power import rule_rate

__all__ = ["rule_rate"]
