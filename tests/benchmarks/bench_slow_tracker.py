"""Whether a tracker that answers late delays training: time to the last step with it, against no tracking, in turns."""

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.request import urlopen

from commands import on_two_cores, run_study
from specs import digits_sgd

from workers.ledger.rows import EventKind

DELAY_S = 0.5
PAIRS = 5
NUM_STEPS = 400
NUM_SEEDS = 8


def main(num_steps: int = NUM_STEPS, num_seeds: int = NUM_SEEDS, pairs: int = PAIRS) -> dict[str, float]:
    """The median of the ratios of neighbouring runs; the order within a pair changes from pair to pair."""
    on_two_cores()
    document = digits_sgd(num_steps, num_seeds)
    seconds: dict[str, list[float]] = {"none": [], "slow": []}
    with TemporaryDirectory(prefix="bench-") as folder, _server() as address:
        for pair in range(pairs):
            for kind in ("none", "slow") if pair % 2 == 0 else ("slow", "none"):
                uri = "none" if kind == "none" else address
                run = run_study(document, Path(folder) / f"{kind}-{pair}", "--tracking-uri", uri, only_training=True)
                training_s = run.last(EventKind.PACK_DONE) - run.first(EventKind.PACK_STARTED)
                seconds[kind].append(training_s)
                sys.stdout.write(f"{kind:5} {training_s:8.2f} s to the last step\n")
                sys.stdout.flush()
        with urlopen(f"{address}/calls") as answer:
            calls = json.load(answer)["calls"]
    if not calls:
        raise RuntimeError("the slow tracker was never called, so this measured nothing")
    ratios = [slow / none for none, slow in zip(seconds["none"], seconds["slow"], strict=True)]
    return {
        "calls_answered": float(calls),
        "no_tracking_s": statistics.median(seconds["none"]),
        "slow_tracker_s": statistics.median(seconds["slow"]),
        "ratio": statistics.median(ratios),
        "ratio_least": min(ratios),
        "ratio_most": max(ratios),
    }


@contextmanager
def _server() -> Iterator[str]:
    script = Path(__file__).with_name("slow_tracker.py")
    process = subprocess.Popen([sys.executable, "-P", str(script), str(DELAY_S)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()
