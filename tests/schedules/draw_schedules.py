"""Draws docs/schedules.png: every warmup, every decay, and what the conventions differ by.

PYTHONPATH=. python tests/schedules/draw_schedules.py
"""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
import matplotlib.pyplot as plt

from schemas.schedules import Schedule
from tests.schedules.test_every_schedule import DECAY_CLASSES, build
from workers.schedules import factors
from workers.schedules.registry import ASYMPTOTIC, DECAYS, WARMUPS, WHOLE

OUT = Path(__file__).parents[2] / "docs" / "schedules.png"
W, T = 100, 400
WARMUP_FIELDS: dict[str, dict[str, Any]] = {
    "exponential_concave": {"tau_steps": W / 2},
    "untuned_exponential": {"beta2": 1 - 2 / W},
    "untuned_linear": {"beta2": 1 - 2 / W},
    "radam": {"beta2": 1 - 2 / W},
}
SAME = {"untuned_linear": "linear", "untuned_exponential": "exponential_concave"}


def curve(warmup: dict[str, Any], decay: dict[str, Any], steps: int, convention: str = "ours") -> np.ndarray:
    document = {"warmup": warmup, "decay": decay, "convention": convention}
    return factors(Schedule.model_validate(document), steps)


def main() -> None:
    figure, (up, down, first) = plt.subplots(1, 3, figsize=(13.5, 4.2), layout="constrained")
    styles = [{"color": color, "linestyle": line} for line in ("-", "--") for color in plt.colormaps["tab10"].colors]
    for style, kind in zip(styles, [each for each in (*WARMUPS, *ASYMPTOTIC) if each not in SAME], strict=False):
        warmup = {"kind": kind, **(WARMUP_FIELDS.get(kind) or ({} if kind == "none" else {"steps": W}))}
        values = curve(warmup, {"kind": "constant"}, 2 * W)
        up.plot(np.arange(1, 2 * W + 1), values, label=kind, **style)
    up.set(title=f"warmups: W = {W}; tau = {W // 2}; beta2 = {1 - 2 / W}", xlabel="updates made")
    for color, kind in zip(styles, (*DECAYS, *WHOLE), strict=False):
        warmup = {"kind": "none"} if kind in WHOLE else {"kind": "linear", "steps": W}
        decay = build(DECAY_CLASSES[kind], 0).model_dump()
        style = {**color, "linestyle": "--" if kind in WHOLE else "-"}
        down.plot(np.arange(1, T + 1), curve(warmup, decay, T), label=kind, **style)
    down.set(title=f"decays behind a linear warmup (T = {T}); noam, one_cycle alone", xlabel="updates made")
    for style, (convention, start) in zip(styles, (("ours", 0.0), ("hf", 0.0), ("torch", 1 / 3)), strict=False):
        warmup = {"kind": "linear", "steps": 4, "start_factor": start}
        values = curve(warmup, {"kind": "cosine"}, 12, convention)
        label = {"hf": "hf, timm, optax, fairseq"}.get(convention, convention)
        first.plot(range(12), values, marker="o", label=label, **style)
    first.set(title="conventions: linear W = 4, cosine, T = 12", xlabel="update k (zero-based)")
    for axis in (up, down, first):
        axis.title.set_fontsize(10)
        axis.set(ylabel="factor of peak_lr", ylim=(-0.03, 1.05))
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8, framealpha=0.9)
    figure.savefig(OUT, dpi=110)


if __name__ == "__main__":
    main()
