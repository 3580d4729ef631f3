"""Studies of more and more one-step trials on a data set: what the trainers hold, who read it once, and the driver."""

import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from commands import on_two_cores, run_study
from processes import KINDS, sampled
from specs import one_step

COUNTS = (1_000, 10_000)
SAMPLE_EVERY_S = 0.2


def main(counts: tuple[int, ...] = COUNTS) -> dict[str, float]:
    """`PROCESS_mb_at_COUNT`: the most that it held (of trainers the mean); `PROCESS_growth`: last count over first.

    The driver has a study's trials in memory: `driver_kb_a_trial` is what one more adds.
    """
    on_two_cores()
    figures: dict[str, float] = {}
    with TemporaryDirectory(prefix="bench-") as name:
        for count in counts:
            folder = Path(name) / str(count)
            command = partial(run_study, one_step(count), folder, "--tracking-uri", "none", "--workers", "2")
            samples = sampled(folder / "home", command, SAMPLE_EVERY_S)
            figures |= {f"{kind}_mb_at_{count}": max(sizes[kind] for _, sizes in samples) for kind in KINDS}
    first, last = counts[0], counts[-1]
    for kind in KINDS:
        figures[f"{kind}_growth"] = figures[f"{kind}_mb_at_{last}"] / figures[f"{kind}_mb_at_{first}"]
    more = figures[f"driver_mb_at_{last}"] - figures[f"driver_mb_at_{first}"]
    figures["driver_kb_a_trial"] = 1_000 * more / (last - first)
    sys.stdout.write("".join(f"{name:36} {value:10.3f}\n" for name, value in figures.items()))
    return figures
