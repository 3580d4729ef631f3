"""`make crash`: every cell of the crash matrix by itself, then one long run with a hundred faults.

`python tests/e2e/crash_matrix.py [VICTIM/MOMENT ...] [--faults N]` runs only those cells. A line for each; exit
status 1 where anything differs from the study in peace.
"""

import argparse
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[2]
SEED = 1
RESTART_S = 3.0
"""So long an MLflow server that was killed is away."""
LONG_STEPS = 60_000


def main() -> int:
    """Exit status."""
    from tests.e2e.crash_cells import Fault, in_peace
    from tests.e2e.crashing import MOMENTS, VICTIMS

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cells", nargs="*", metavar="VICTIM/MOMENT")
    parser.add_argument("--faults", type=int, default=100, help="of the long run (0: none)")
    options = parser.parse_args()
    everything: list[Fault] = [(victim, moment) for victim in VICTIMS for moment in MOMENTS if _can_be(victim, moment)]
    asked: list[Fault] = [tuple(cell.split("/")) for cell in options.cells]  # type: ignore[misc]
    if unknown := [cell for cell in asked if cell not in everything]:
        parser.error(f"no such cell: {unknown[0]}; there are {', '.join('/'.join(cell) for cell in everything)}")
    failed = 0
    with TemporaryDirectory(prefix="crash-") as name:
        folder = Path(name)
        peace = in_peace(folder)
        for fault in asked or everything:
            failed += not _cell(folder, fault, peace)
        if options.faults and not asked:
            failed += not _long_run(folder / "long", options.faults)
    print(f"{failed} failed" if failed else "all as in peace")
    return 1 if failed else 0


def _can_be(victim: str, moment: str) -> bool:
    # A trainer is gone when its study is analysed, and may be when it is published.
    return not (victim == "trainer" and moment in ("analysis", "publishing"))


def _cell(folder: Path, fault: tuple[str, str], peace: dict[str, bytes]) -> bool:
    from tests.e2e.crash_cells import with_faults

    where = folder / "-".join(fault)
    if fault[0] != "mlflow":
        return _say("/".join(fault), with_faults(where, [fault], peace))
    with mlflow_server(folder / "server") as (uri, pid_file):
        return _say("/".join(fault), with_faults(where, [fault], peace, tracking_uri=uri, CRASHING_MLFLOW_PID=pid_file))


def _long_run(folder: Path, num_faults: int) -> bool:
    from tests.e2e.crash_cells import in_peace, with_faults

    choice = random.Random(SEED)
    # No two deaths of trainers in a row: three of one pack are a matter of the retry policy, and change its bits.
    faults = [
        (choice.choice(("trainer", "driver")) if number % 2 else choice.choice(("driver", "raylet", "ray")), moment)
        for number, moment in enumerate(choice.choices(("training", "record", "checkpoint"), k=num_faults))
    ]
    peace = in_peace(folder / "peace", LONG_STEPS)
    found = with_faults(folder / "faults", faults, peace, num_steps=LONG_STEPS, timeout_s=60.0 * num_faults)
    return _say(f"{num_faults} faults in a row", found)


def _say(name: str, outcome: object) -> bool:
    problems = outcome.problems  # type: ignore[attr-defined]
    print(f"{name:28} {outcome.seconds:6.0f} s  {'as in peace' if not problems else 'FAILED'}", flush=True)  # type: ignore[attr-defined]
    for problem in problems:
        print(f"    {problem}", flush=True)
    return not problems


@contextmanager
def mlflow_server(folder: Path) -> Iterator[tuple[str, str]]:
    """A server that is started again when it was killed: its address, and the file with its process id."""
    folder.mkdir(parents=True, exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    pid_file, over = folder / "pid", threading.Event()
    store = f"sqlite:///{folder / 'mlflow.sqlite'}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--backend-store-uri", store, "--artifacts-destination", str(folder / "artifacts")]
    own = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    server: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        # A session of its own, as it starts others: they are killed with it.
        server[:] = [
            subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=own, start_new_session=True
            )
        ]
        pid_file.write_text(str(server[0].pid))

    def mind() -> None:
        while not over.wait(0.2):
            if server[0].poll() is not None:
                time.sleep(RESTART_S)
                start()

    start()
    minding = threading.Thread(target=mind)
    minding.start()
    try:
        yield f"http://127.0.0.1:{port}", str(pid_file)
    finally:
        over.set()
        minding.join()
        with suppress(ProcessLookupError):
            os.killpg(server[0].pid, signal.SIGKILL)
        server[0].wait()


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main())
