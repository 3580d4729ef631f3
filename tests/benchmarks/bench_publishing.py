"""How fast results reach MLflow's SQLite store: points, runs, the first use of a new home, and finding runs again."""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from workers.tracking.batching import batches
from workers.tracking.mlflow_tracker import MlflowTracker
from workers.tracking.names import KEY_TAG
from workers.tracking.port import Batch
from workers.tracking.publications import EndStatus, MetricPoint, StudyPublication, TrialPublication
from workers.tracking.publisher import Publisher

NUM_POINTS = 1_000
NUM_CURVES = 5
NUM_TRIALS = 50
REPEATS = 5
STUDY = StudyPublication(study_id="0123456789abcdef", name="bench", spec_json="{}", epoch_ms=1_700_000_000_000)
_COLD_START = """
import sys, time
sys.path.insert(0, {root!r})
begun = time.perf_counter()
from pathlib import Path
from workers.tracking.places import open_tracker
from workers.tracking.publications import StudyPublication
from workers.tracking.publisher import Publisher
tracker = open_tracker(None, Path({home!r}))
if {only_import!r} == "yes":
    from workers.tracking.switches import set_switches
    set_switches()
    import mlflow.store.tracking.sqlalchemy_store
else:
    Publisher(tracker).ensure_study(StudyPublication(study_id="01234567", name="cold", spec_json="{{}}", epoch_ms=9))
print(time.perf_counter() - begun)
"""


def main() -> dict[str, float]:
    """Measure, print a table, and return name -> figure; takes about half a minute alone on two cores."""
    with TemporaryDirectory() as folder:
        figures = _cold_starts(Path(folder))
        tracker = MlflowTracker(f"sqlite:///{folder}/home/mlflow.sqlite", Path(folder) / "home" / "artifacts")
        figures |= _points_per_second(tracker)
        figures |= _run_creation(tracker)
        figures |= _whole_trials(tracker)
    for name, figure in figures.items():
        sys.stdout.write(f"{name:58} {figure:12,.2f}\n")
    return figures


def _cold_starts(folder: Path) -> dict[str, float]:
    cache, home = str(folder / "cache"), folder / "cold"
    return {
        "import of MLflow and its SQL store [s]": _cold_start(home / "0", cache, only_import="yes"),
        "first study, first use of this MLflow on the machine [s]": _cold_start(home / "1", cache),
        "first study in a new home, template in the cache [s]": _cold_start(home / "2", cache),
        "first study of a process in a home that is there [s]": _cold_start(home / "2", cache),
    }


def _cold_start(home: Path, cache: str, only_import: str = "no") -> float:
    script = _COLD_START.format(root=str(Path(__file__).parents[2]), home=str(home), only_import=only_import)
    environment = {"XDG_CACHE_HOME": cache, "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, env=environment, check=True
    )
    return float(done.stdout)


def _points_per_second(tracker: MlflowTracker) -> dict[str, float]:
    experiment_id = tracker.find_or_create_experiment("points", {}).experiment_id
    run_ids = [tracker.create_run(experiment_id, "run", 1_000, {KEY_TAG: str(number)}) for number in range(REPEATS)]
    (batch,) = batches(_points(NUM_POINTS))
    sent = [_seconds(tracker.log, run_id, batch) for run_id in run_ids]
    again = [_seconds(tracker.log, run_id, batch) for run_id in run_ids]
    return {
        f"points per second, {NUM_POINTS:,} in a call, median of {REPEATS}": NUM_POINTS / statistics.median(sent),
        "the same points again (replay: nothing is added)": NUM_POINTS / statistics.median(again),
    }


def _run_creation(tracker: MlflowTracker) -> dict[str, float]:
    experiment_id = tracker.find_or_create_experiment("runs", {}).experiment_id
    tags = {f"warmup_bench.tag{number}": "value" for number in range(6)}
    params = [(f"param{number}", "value") for number in range(14)]
    created, logged, ended = [], [], []
    for number in range(NUM_TRIALS):
        begun_s = time.perf_counter()
        run_id = tracker.create_run(experiment_id, "run", 1_000, {**tags, KEY_TAG: str(number)})
        created.append(time.perf_counter() - begun_s)
        logged.append(_seconds(tracker.log, run_id, Batch(metrics=_points(12, num_curves=12), params=params)))
        ended.append(_seconds(tracker.end_run, run_id, EndStatus.FINISHED, 2_000))
    parts = [1_000 * statistics.median(times) for times in (created, logged, ended)]
    searched = _seconds(tracker.find_runs, experiment_id)
    return {
        "a run with 14 parameters and 12 single values [ms]": sum(parts),
        "  of that: creation with 7 tags [ms]": parts[0],
        "  of that: parameters and values [ms]": parts[1],
        "  of that: final status [ms]": parts[2],
        "finding all runs again after a restart [ms a run]": 1_000 * searched / NUM_TRIALS,
    }


def _whole_trials(tracker: MlflowTracker) -> dict[str, float]:
    publisher = Publisher(tracker)
    publisher.ensure_study(STUDY)
    trials = [_trial(number) for number in range(NUM_TRIALS)]
    published = _seconds(lambda: [publisher.publish_trial(trial) for trial in trials])
    return {"a whole trial with 200 points through the publisher [ms]": 1_000 * published / NUM_TRIALS}


def _trial(number: int) -> TrialPublication:
    return TrialPublication(
        key=f"{STUDY.study_id}/{number}",
        name=str(number),
        params={f"param{place}": place for place in range(14)},
        points=_points(200),
        headline={f"final_{place}": 1.0 for place in range(12)},
        headline_step=40,
        epoch_ms=STUDY.epoch_ms,
        status=EndStatus.FINISHED,
    )


def _points(count: int, num_curves: int = NUM_CURVES) -> list[MetricPoint]:
    length = count // num_curves
    return [
        MetricPoint(f"curve{number}", 1 / (step + 1), step, STUDY.epoch_ms + step)
        for number in range(num_curves)
        for step in range(length)
    ]


def _seconds(call: Callable[..., object], *arguments: object) -> float:
    begun_s = time.perf_counter()
    call(*arguments)
    return time.perf_counter() - begun_s


if __name__ == "__main__":
    main()
