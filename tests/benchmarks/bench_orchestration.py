"""What a trial costs beyond its training: one-step trials through the whole command, and through Ray Tune."""

import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from commands import NUM_CORES, CommandRun, on_two_cores, run_study
from specs import one_step

from workers.launcher import child_environment, ray_environment
from workers.ledger.rows import EventKind

COUNTS = (2_000, 10_000)
TUNE_TRIALS = {"function": 40, "class": 200}


def main(counts: tuple[int, ...] = COUNTS, tune_trials: dict[str, int] | None = None) -> dict[str, float | str]:
    """Whole commands and Ray Tune, side by side in one run."""
    on_two_cores()
    figures: dict[str, float | str] = {}
    with TemporaryDirectory(prefix="bench-") as folder:
        for count in counts:
            run = run_study(one_step(count), Path(folder) / str(count), "--tracking-uri", "none", "--workers", "2")
            figures |= _phases(run, count)
            _show(figures, str(count))
        for kind, count in (tune_trials or TUNE_TRIALS).items():
            figures |= ray_tune(kind, count, Path(folder) / f"tune-{kind}")
            _show(figures, f"ray_tune_{kind}")
    return figures


def ray_tune(kind: str, count: int, folder: Path) -> dict[str, float | str]:
    """Milliseconds a trial of the same job as a Ray Tune experiment, its start-up included, as ours is."""
    folder.mkdir()
    script = Path(__file__).with_name("ray_tune_job.py")
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-P", str(script), kind, str(count), str(NUM_CORES), str(folder)],
        capture_output=True,
        text=True,
        cwd=folder,
        env=child_environment() | ray_environment() | {"OMP_NUM_THREADS": "1"},
    )
    seconds = time.perf_counter() - began
    if done.returncode != 0:
        return {f"ray_tune_{kind}_problem": (done.stderr.strip().splitlines() or ["no message"])[-1][:300]}
    fitting_s = float(done.stdout.strip().splitlines()[-1])
    return {
        f"ray_tune_{kind}_trials": float(count),
        f"ray_tune_{kind}_ms": 1_000 * seconds / count,
        f"ray_tune_{kind}_without_start_ms": 1_000 * fitting_s / count,
    }


def _phases(run: CommandRun, count: int) -> dict[str, float | str]:
    planned, trained = run.first(EventKind.PLAN_WRITTEN), run.last(EventKind.PACK_DONE)
    created, done = run.first(EventKind.STUDY_CREATED), run.last(EventKind.STUDY_DONE)
    phases = {
        "ms": 1_000 * run.seconds / count,
        "ms_after_plan": 1_000 * (run.seconds - planned) / count,
        "seconds": run.seconds,
        "until_created_s": created,
        "until_planned_s": planned,
        "training_s": trained - planned,
        "results_s": done - trained,
        "exit_s": run.seconds - done,
    }
    return {f"{name}_at_{count}": value for name, value in phases.items()}


def _show(figures: dict[str, float | str], part: str) -> None:
    for name, value in figures.items():
        if part in name:
            sys.stdout.write(f"{name:36} {value if isinstance(value, str) else f'{value:10.2f}'}\n")
    sys.stdout.flush()
