"""The most negative eigenvalue of the loss's Hessian: how far from convex the loss is where training stands."""

from workers.science.probes.eigenvalue import EigenvalueProbe


class MostNegativeEigenvalueProbe(EigenvalueProbe):
    """The smallest algebraic eigenvalue, by Lanczos on -H; above 0 where the Hessian is positive definite.

    The gradient lies at the other end of the spectrum, so that no start holds it. A smallest eigenvalue near 0 has no
    relative error worth the name: such a point spends `max_hvps` and says that it did not converge, its `error` being
    small beside the sharpness.
    """

    sign = -1.0
    gradient_weight = 0.0
