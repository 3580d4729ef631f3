"""What it gains to train trials stacked: 64 digits trials in packs and alone, same core, same code around them.

Records are written, the trial alone is traced as the packs are, and both are counted in CPU seconds of one thread.
"""

import statistics
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from packs_in_process import train, trials_of
from specs import digits_sgd

from workers.planning import plan_packs

NUM_STEPS = 200
NUM_TRIALS = 64
REPEATS = 5


def main(num_steps: int = NUM_STEPS) -> dict[str, float]:
    """Packed and alone in turns; the figure is the median of the ratios of neighbouring runs."""
    trials, datasets = trials_of(digits_sgd(num_steps, num_seeds=2))
    assert len(trials) == NUM_TRIALS
    seconds: dict[str, list[float]] = {"packed": [], "alone": []}
    with TemporaryDirectory(prefix="bench-") as folder:
        train(trials[:2], datasets, 2, Path(folder) / "warm-up")
        for repeat in range(REPEATS):
            for name, size in (("packed", None), ("alone", 1)):
                seconds[name].append(train(trials, datasets, size, Path(folder) / f"{name}-{repeat}"))
                sys.stdout.write(f"{name:8} {seconds[name][-1]:8.2f} CPU s\n")
                sys.stdout.flush()
    ratios = [alone / packed for packed, alone in zip(seconds["packed"], seconds["alone"], strict=True)]
    return {
        "pack_size": float(plan_packs(trials, datasets, device_class="cpu")[0].size),
        "steps": float(num_steps),
        "packed_cpu_s": statistics.median(seconds["packed"]),
        "alone_cpu_s": statistics.median(seconds["alone"]),
        "times_faster": statistics.median(ratios),
        "times_faster_least": min(ratios),
        "times_faster_most": max(ratios),
    }
