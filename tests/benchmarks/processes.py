"""What the processes of a study hold in memory, sampled while the command runs."""

import statistics
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
from memory import Sample

from schemas.errors import PlaceError
from workers import marks
from workers.ledger.ledger import Ledger

KINDS = ("driver", "trainer", "gcs_server", "raylet")


def sampled(home: Path, run: Callable[[], object], every_s: float) -> list[Sample]:
    """Samples of the one study of a home while `run` runs it, those that have all KINDS and a trial that is done."""
    samples: list[Sample] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(every_s):
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
    return [sample for sample in samples if sample[0] > 0 and len(sample[1]) == len(KINDS)]


def _sizes(study_id: str) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for process in marks.marked(marks.STUDY, study_id):
        with suppress(psutil.Error):
            line, name = " ".join(process.cmdline()), process.name()
            kind = "driver" if "workers.cluster" in line else "trainer" if line.startswith("ray::Trainer") else name
            if kind in KINDS:
                found.setdefault(kind, []).append(process.memory_info().rss / 1e6)
    return {kind: statistics.mean(sizes) for kind, sizes in found.items()}
