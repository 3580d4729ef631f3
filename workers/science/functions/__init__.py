"""Analytic functions whose answer is known (design/theory.md, section 1.5), one kind per file."""

from collections.abc import Callable, Mapping
from typing import Any

from workers.science.functions.cosh import CoshFunction
from workers.science.functions.exponential import ExponentialFunction
from workers.science.functions.flat_then_exponential import FlatThenExponentialFunction
from workers.science.functions.inverse_power import InversePowerFunction
from workers.science.functions.logistic import LogisticFunction
from workers.science.functions.power import PowerFunction
from workers.science.functions.quadratic import QuadraticFunction
from workers.science.functions.quadratic_then_exponential import QuadraticThenExponentialFunction
from workers.science.functions.river_valley import RiverValleyFunction
from workers.science.functions.scalar_net import ScalarNetFunction
from workers.science.functions.two_layer_linear import TwoLayerLinearFunction
from workers.science.protocols import Function

BUILDERS: Mapping[str, Callable[[Any], Function]] = {
    "quadratic": QuadraticFunction,
    "cosh": CoshFunction,
    "power": PowerFunction,
    "exponential": ExponentialFunction,
    "inverse_power": InversePowerFunction,
    "logistic": LogisticFunction,
    "scalar_net": ScalarNetFunction,
    "river_valley": RiverValleyFunction,
    "quadratic_then_exponential": QuadraticThenExponentialFunction,
    "flat_then_exponential": FlatThenExponentialFunction,
    "two_layer_linear": TwoLayerLinearFunction,
}
"""kind -> builder from its spec (schemas.workloads)."""
