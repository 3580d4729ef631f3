"""`make bench`: runs the benchmarks, each in a process of its own, and ends with one table of the figures asked for.

`python -P tests/benchmarks/run.py [NAME ...]` runs only those named. Each bench_NAME.py has a `main()` that returns
name -> value. Everything measured is kept in bench-results/, with the facts of the machine.
"""

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE.parents[1] / "bench-results"
NAMES = (
    "quickstart",
    "orchestration",
    "packing",
    "pack_sizes",
    "image_packs",
    "text_packs",
    "publishing",
    "slow_tracker",
    "sharpness",
    "sharpness_along",
    "service",
    "crashes",
    "long_life",
    "trial_memory",
    "short_studies",
    "slots",
    "raylets",
)
IN_PROCESS = ("packing", "pack_sizes", "image_packs", "text_packs", "sharpness", "sharpness_along")
"""Train in the benchmark's own process: on one thread, as a trainer does."""


def main() -> int:
    """Exit status 1 when a benchmark failed; a figure that is missed is said in the table and fails nothing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(NAMES)} (default: all)")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in NAMES]:
        parser.error(f"no benchmark {unknown[0]!r}; there are {', '.join(NAMES)}")
    if options.child:
        return _child(options.names[0], Path(options.child))
    return _all(options.names or list(NAMES))


def _all(names: list[str]) -> int:
    from figures import table

    machine, measured, failed = machine_facts(), {}, {}
    with TemporaryDirectory(prefix="bench-") as folder:
        for number, name in enumerate(names, start=1):
            print(f"\n[{number}/{len(names)}] {name}", flush=True)
            began, answer = time.perf_counter(), Path(folder) / f"{name}.json"
            command = [sys.executable, "-P", str(HERE / "run.py"), name, "--child", str(answer)]
            threads = {"OMP_NUM_THREADS": "1"} if name in IN_PROCESS else {}
            status = subprocess.run(command, env=os.environ | threads).returncode
            print(f"    {name}: {time.perf_counter() - began:.0f} s", flush=True)
            if status == 0:
                measured[name] = json.loads(answer.read_text(encoding="utf-8"))
            else:
                failed[name] = f"ended with status {status}"
    file = _keep({"machine": machine, "measured": measured, "failed": failed})
    print(f"\n{table(measured | {name: {} for name in failed})}\n")
    print(f"{machine['cpu']}, {machine['cores']} cores, load {machine['load_at_start'][0]:.1f} at the start, torch"
          f" {machine['torch']}")  # fmt: skip
    if machine["load_at_start"][0] > machine["cores"] / 4:
        print("The machine was not idle: absolute times are too high; ratios of neighbouring runs are less so.")
    print(f"all values: {file}")
    for name, reason in failed.items():
        print(f"FAILED {name}: {reason}")
    return 1 if failed else 0


def machine_facts() -> dict[str, Any]:
    """What a reader must know to compare these numbers with others."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "load_at_start": list(os.getloadavg()),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "ray", "mlflow", "sqlalchemy", "pyarrow", "numpy")},
    }


def _child(name: str, answer: Path) -> int:
    measured = importlib.import_module(f"bench_{name}").main()
    answer.write_text(json.dumps(measured), encoding="utf-8")
    return 0


def _keep(everything: dict[str, Any]) -> Path:
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{datetime.now(UTC):%Y-%m-%dT%H%M%SZ}.json"
    file.write_text(json.dumps(everything, indent=2) + "\n", encoding="utf-8")
    return file


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


if __name__ == "__main__":
    sys.path[:0] = [str(HERE), str(HERE.parents[1])]
    sys.exit(main())
