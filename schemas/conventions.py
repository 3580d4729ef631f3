"""How other libraries count: which schedules they have, and at which position of a curve their first update is."""

from collections.abc import Mapping
from typing import Literal

Convention = Literal["ours", "torch", "hf", "timm", "optax", "fairseq"]

_PLAIN = ("none", "linear")
_SLOW_STARTS = ("linear", "polynomial", "exponential_convex", "piecewise_linear")

COMBINATIONS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "torch": {
        "constant": _PLAIN, "cosine": _PLAIN, "linear": _PLAIN, "exponential": _PLAIN, "one_cycle": ("none",),
    },
    "hf": {
        "constant": _PLAIN, "cosine": _PLAIN, "linear": _PLAIN, "inverse_sqrt": _PLAIN, "wsd": (*_PLAIN, "cosine"),
    },
    "timm": {"constant": _PLAIN, "cosine": _PLAIN, "linear": _PLAIN, "exponential": _PLAIN, "wsd": _PLAIN},
    "optax": {
        "constant": _PLAIN, "cosine": _PLAIN, "linear": _PLAIN, "exponential": _PLAIN, "one_cycle": ("none",),
    },
    "fairseq": {"constant": _PLAIN, "cosine": _PLAIN, "linear": _PLAIN, "inverse_sqrt": _SLOW_STARTS},
}  # fmt: skip
"""Convention -> decay -> the warmups that the library has beside it. `ours` has all of them.

torch: SequentialLR([LinearLR(total_iters=W), decay], milestones=[W]), or OneCycleLR. hf: transformers.optimization.
timm: the schedulers with warmup_prefix and step_update. optax: join_schedules at [W]. fairseq: the fixed, cosine,
polynomial_decay and inverse_sqrt schedulers at num_updates, and the slow starts of arXiv 2505.23420's own code.
"""

HF_TIMESCALE = 10_000
"""transformers' inverse_sqrt without a warmup is that of a timescale of so many steps."""


def first_position(convention: str, decay: str) -> int:
    """j, where update k stands at x = (k + j) / W of the warmup.

    1 in ours: the peak is the warmup's last update, and none is made at rate 0. 0 elsewhere: the peak comes one update
    later, and a warmup from 0 makes its first update at rate 0. Only fairseq's scheduler without a decay counts from 1.
    """
    return int(convention == "ours" or (convention == "fairseq" and decay == "constant"))


def conventions_of(warmup: str, decay: str) -> list[str]:
    """The conventions that have this warmup beside this decay."""
    return ["ours", *(name for name, has in COMBINATIONS.items() if warmup in has.get(decay, ()))]
