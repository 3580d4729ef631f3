"""Hessian norm: the largest magnitude of the eigenvalues, which the smoothness laws bound."""

from workers.science.probes.eigenvalue import EigenvalueProbe


class HessianNormProbe(EigenvalueProbe):
    """||H|| = max(|largest eigenvalue|, |smallest eigenvalue|), never negative; both ends from one Krylov space."""

    by_magnitude = True
