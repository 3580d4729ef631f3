"""The commands of a study with crash points in them: at a given moment a given process is killed.

`python tests/e2e/crashing.py command run FILE ...` is `warmup-bench run FILE ...`; its driver, trainers and publisher
are this file, too. FAULTS in the environment lists [victim, moment] in order; each strikes once, in the process that
comes to its moment first, when those before it have struck. The kernel kills: nothing of ours runs then.

While the file that PACE in the environment names is there, every chunk of training takes a second more, asleep: a study
then lasts long enough to be met at work, on a fast machine, and leaves a slow one to others.
"""

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FAULTS, FOLDER, SERVER_PID = "CRASHING_FAULTS", "CRASHING_FOLDER", "CRASHING_MLFLOW_PID"
PACE, PACE_S = "CRASHING_PACE", 1.0
ROLES = {"workers.cluster": "driver", "workers.tracking": "publisher"}
VICTIMS = ("trainer", "raylet", "gcs_server", "driver", "ray", "publisher", "mlflow")
MOMENTS = ("launch", "training", "record", "checkpoint", "compaction", "publishing", "analysis")
CHECKPOINT_S = 0.5
"""Or a study as short as this one would have no checkpoint."""
OF_RAY = ("raylet", "gcs_server")
ONE_RAY = "ray.json"
"""What a Ray consisted of when one of its processes was killed."""


def reach(moment: str) -> None:
    """Strike, where the next fault is one of this moment."""
    if not is_next(moment):
        return
    faults, folder = json.loads(os.environ[FAULTS]), Path(os.environ[FOLDER])
    number = len(list(folder.glob("*.struck")))
    try:
        with (folder / f"{number:03}.struck").open("x") as file:
            file.write(json.dumps([*faults[number], time.time()]))
    except FileExistsError:
        return  # another process has come to it at the same time
    strike(faults[number][0])


def is_next(moment: str) -> bool:
    """Whether the next fault is one of this moment."""
    faults = json.loads(os.environ.get(FAULTS, "[]"))
    number = len(list(Path(os.environ[FOLDER]).glob("*.struck"))) if faults else 0
    return number < len(faults) and bool(faults[number][1] == moment)


def strike(victim: str) -> None:
    """`kill -9`, of every process that makes up the victim; this one comes last, if it is of them."""
    from workers import marks

    if victim == "mlflow":
        os.killpg(int(Path(os.environ[SERVER_PID]).read_text()), signal.SIGKILL)
        return
    marked = list(marks.marked(marks.STUDY, os.environ[marks.STUDY]))
    found = [process.pid for process in marked if _is_of(process, victim)]
    if victim in (*OF_RAY, "ray"):
        ray = [(process.pid, process.create_time()) for process in marked if _is_of(process, "ray")]
        (Path(os.environ[FOLDER]) / ONE_RAY).write_text(json.dumps(ray))
    for pid in found:
        os.kill(pid, signal.SIGKILL)
    role = os.environ.get("CRASHING_ROLE")
    if victim == role or (victim == "ray" and role == "trainer"):
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)  # a signal may take a moment to come


def note_what_lives_of_a_dead_ray() -> None:
    """Called when a driver is about to start a Ray: it has ended what those before it had."""
    import psutil

    folder = Path(os.environ[FOLDER])
    if not (folder / ONE_RAY).exists():
        return
    known = json.loads((folder / ONE_RAY).read_text())
    (folder / ONE_RAY).unlink()
    lives = []
    for pid, created in known:
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            if process.create_time() == created and process.status() != psutil.STATUS_ZOMBIE:
                lives.append(" ".join(process.cmdline()) or process.name())
    (folder / f"{len(list(folder.glob('*.lives')))}.lives").write_text(json.dumps(lives))


def _is_of(process: Any, victim: str) -> bool:
    name, line = process.name(), " ".join(process.cmdline())
    if victim == "trainer":
        return line.startswith("ray::Trainer")
    if victim == "ray":
        return name in OF_RAY or line.startswith("ray::")
    return name == victim or any(f"-m {module} " in line for module, role in ROLES.items() if role == victim)


def install_in_records() -> None:
    """Crash points in the middle of a write, when half of it is in a file that has no name yet."""
    from workers.records import places

    write = places._write

    def write_half_first(path: Path, data: bytes, *, durable: bool) -> None:
        moment = (
            "checkpoint" if path.parent.name == "checkpoints" else "compaction" if ".compact" in path.name else "record"
        )
        if is_next(moment):
            path.write_bytes(data[: len(data) // 2])
            reach(moment)
            path.unlink()
        write(path, data, durable=durable)

    places._write = write_half_first


def install_in_trainer() -> None:
    """Crash points of the training itself."""
    from workers.science.trainer import PackTrainer

    os.environ["CRASHING_ROLE"] = "trainer"
    install_in_records()
    run_chunk = PackTrainer.run_chunk

    def run(self: PackTrainer, *args: Any) -> Any:
        if self.position > 0:
            reach("training")
        if Path(os.environ.get(PACE, "")).is_file():
            time.sleep(PACE_S)
        return run_chunk(self, *args)

    PackTrainer.run_chunk = run  # type: ignore[method-assign]


def install_in_driver() -> None:
    """Trainers with crash points, and the one of the driver's own."""
    from ray import cloudpickle

    import tests.e2e.crashing as this
    from workers.cluster import trainer
    from workers.cluster.grounds import ThisMachine
    from workers.planning import packs
    from workers.results import write

    cloudpickle.register_pickle_by_value(this)  # a worker of Ray does not find the tests
    packs.CHECKPOINT_S = CHECKPOINT_S
    # Of the same name, which Ray gives the process.
    launch = {"__init__": this.with_launch_point(trainer.Trainer.__init__)}
    trainer.Trainer = type("Trainer", (trainer.Trainer,), launch)  # type: ignore[misc]
    write_results, prepare = write.write_results, ThisMachine.prepare

    def prepared(self: ThisMachine, study_id: str) -> None:
        prepare(self, study_id)
        if os.environ.get(FAULTS):
            note_what_lives_of_a_dead_ray()

    ThisMachine.prepare = prepared  # type: ignore[method-assign]

    def analyse(*args: Any) -> Any:
        reach("analysis")
        return write_results(*args)

    write.write_results = analyse


def with_launch_point(init: Callable[..., None]) -> Callable[..., None]:
    """A trainer's constructor that may be its end."""

    def launched(self: Any, *args: Any) -> None:
        install_in_trainer()
        reach("launch")
        init(self, *args)

    return launched


def install_in_publisher() -> None:
    """A crash point between two calls to the tracker."""
    from workers.tracking.mlflow_tracker import MlflowTracker

    log = MlflowTracker.log

    def logged(self: MlflowTracker, *args: Any) -> None:
        log(self, *args)
        reach("publishing")

    MlflowTracker.log = logged  # type: ignore[method-assign]


def main(role: str, arguments: list[str]) -> int:
    """As the role's own main; the exit status."""
    from workers import launcher

    sys.path.insert(0, str(ROOT))
    os.environ["CRASHING_ROLE"] = role
    command = launcher.module_command

    def with_crash_points(module: str) -> list[str]:
        # "-m MODULE" says nothing to Python here: it is what such a process is told by.
        return [sys.executable, "-P", __file__, "-m", module] if module in ROLES else command(module)

    launcher.module_command = with_crash_points
    if role == "command":
        from service.cli.main import main as run

        sys.argv = ["warmup-bench", *arguments]
        run()
        return 0
    if role == "driver":
        from workers.cluster.__main__ import main as drive

        install_in_driver()
        return drive(arguments)
    from workers.tracking.__main__ import main as publish

    install_in_publisher()
    return publish(arguments)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    given = sys.argv[1:]
    status = main(ROLES[given[1]], given[2:]) if given[0] == "-m" else main(given[0], given[1:])
    sys.stdout.flush()
    if os.environ.get(FAULTS):
        os._exit(status)  # what is left of a Ray that was killed would be waited for
    sys.exit(status)
