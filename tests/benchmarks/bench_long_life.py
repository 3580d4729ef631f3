"""10,000 small trials in one study: whether the memory of its processes grows while they pass. With a plot of it."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from commands import on_two_cores, run_study
from memory import growth, plot
from processes import KINDS, sampled
from specs import one_step

NUM_TRIALS, NUM_STEPS = 10_000, 200
SAMPLE_EVERY_S = 0.5
PLOT = Path(__file__).resolve().parents[2] / "bench-results" / "long-life.png"


def main(num_trials: int = NUM_TRIALS, num_steps: int = NUM_STEPS) -> dict[str, float]:
    """Growth of each process: median late over median early."""
    on_two_cores()
    document = one_step(num_trials)
    document["workloads"][0]["budget"]["steps"] = num_steps
    document["workloads"][0]["evaluation"]["every_steps"] = num_steps
    with TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name) / "long"
        samples = sampled(folder / "home", lambda: run_study(document, folder, "--workers", "2"), SAMPLE_EVERY_S)
    plot(samples, PLOT, "trials done (%)")
    figures = {f"{name}_growth": growth(samples, name) for name in KINDS}
    figures["largest_growth"] = max(figures.values())
    figures |= {f"{name}_mb": mb for name, mb in samples[-1][1].items()}
    sys.stdout.write("".join(f"{name:36} {value:10.3f}\n" for name, value in figures.items()) + f"plot: {PLOT}\n")
    return figures
