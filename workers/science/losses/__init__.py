"""Training losses: one file each, mean over a batch, in nats where they are likelihoods."""

from collections.abc import Callable, Mapping
from typing import Any

from workers.science.losses.cross_entropy import CrossEntropy
from workers.science.losses.mse import MSE
from workers.science.protocols import Loss

BUILDERS: Mapping[str, Callable[[Any], Loss]] = {"cross_entropy": CrossEntropy, "mse": MSE}
"""kind -> builder from its spec."""
