"""What is measured while training, one kind per file."""

from collections.abc import Callable, Mapping
from typing import Any

from workers.science.probes.directional_sharpness import DirectionalSharpnessProbe
from workers.science.probes.gauss_newton import GaussNewtonProbe
from workers.science.probes.gradient_noise import GradientNoiseProbe
from workers.science.probes.hessian_norm import HessianNormProbe
from workers.science.probes.most_negative_eigenvalue import MostNegativeEigenvalueProbe
from workers.science.probes.preconditioned_sharpness import PreconditionedSharpnessProbe
from workers.science.probes.secant_noise import SecantNoiseProbe
from workers.science.probes.secant_smoothness import SecantSmoothnessProbe
from workers.science.probes.sharpness import SharpnessProbe
from workers.science.protocols import Probe

BUILDERS: Mapping[str, Callable[[Any], Probe]] = {
    "directional_sharpness": DirectionalSharpnessProbe,
    "gauss_newton": GaussNewtonProbe,
    "gradient_noise": GradientNoiseProbe,
    "hessian_norm": HessianNormProbe,
    "most_negative_eigenvalue": MostNegativeEigenvalueProbe,
    "preconditioned_sharpness": PreconditionedSharpnessProbe,
    "secant_noise": SecantNoiseProbe,
    "secant_smoothness": SecantSmoothnessProbe,
    "sharpness": SharpnessProbe,
}
"""kind -> builder from its spec (schemas.probes)."""
