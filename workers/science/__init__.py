"""Trains and measures: one loop over a pack of trials that share one graph, stacked on a leading axis.

Imports `schemas`, `workers.schedules`, `workers.laws`, torch and numpy, nothing else of this house.
"""
