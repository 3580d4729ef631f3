"""10,000 small trials in one study: whether the memory of its processes grows while they pass. With a plot of it."""

import statistics
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
from commands import on_two_cores, run_study
from memory import Sample, growth, plot
from specs import one_step

from schemas.errors import PlaceError
from workers import marks
from workers.ledger.ledger import Ledger

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
        samples = _sampled(folder / "home", lambda: run_study(document, folder, "--workers", "2"))
    plot(samples, PLOT, "trials done (%)")
    figures = {f"{name}_growth": growth(samples, name) for name in ("driver", "trainer", "gcs_server", "raylet")}
    figures["largest_growth"] = max(figures.values())
    figures |= {f"{name}_mb": mb for name, mb in samples[-1][1].items()}
    sys.stdout.write("".join(f"{name:36} {value:10.3f}\n" for name, value in figures.items()) + f"plot: {PLOT}\n")
    return figures


def _sampled(home: Path, run: Callable[[], object]) -> list[Sample]:
    samples: list[Sample] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(SAMPLE_EVERY_S):
            with suppress(PlaceError, psutil.Error, IndexError):
                with Ledger.open(home, create=False) as ledger:
                    study = ledger.list_studies()[0][0]
                share = study.counts["done"] / study.total
                if sizes := _sizes(study.id):
                    samples.append((share, sizes))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        run()
    finally:
        over.set()
        watching.join()
    return [sample for sample in samples if sample[0] > 0 and len(sample[1]) == 4]


def _sizes(study_id: str) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for process in marks.marked(marks.STUDY, study_id):
        with suppress(psutil.Error):
            line, name = " ".join(process.cmdline()), process.name()
            kind = "driver" if "workers.cluster" in line else "trainer" if line.startswith("ray::Trainer") else name
            if kind in ("driver", "trainer", "gcs_server", "raylet"):
                found.setdefault(kind, []).append(process.memory_info().rss / 1e6)
    return {kind: statistics.mean(sizes) for kind, sizes in found.items()}
