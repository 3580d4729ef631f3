"""Sharpness: the largest algebraic eigenvalue of the loss's Hessian on a fixed batch, followed along training."""

from workers.science.probes.eigenvalue import EigenvalueProbe


class SharpnessProbe(EigenvalueProbe):
    """The largest algebraic eigenvalue, also where one below zero is larger in magnitude."""
