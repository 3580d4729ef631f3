"""200 short studies through one service, every fourth cancelled: whether what they leave adds up. With a plot of it."""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import psutil
from commands import on_two_cores
from memory import Sample, growth, plot
from specs import one_step

from workers import marks
from workers.launcher import child_environment
from workers.shared_ray import home_mark

NUM_STUDIES, NUM_TRIALS, NUM_STEPS = 200, 20, 400
NUM_WAITING = 6
"""So many are unfinished at a time: two run, the others wait."""
ONE_IS_CANCELLED_OF = 4
POLL_S = 0.5
LEFT_S = 30.0
PLOT = Path(__file__).resolve().parents[2] / "bench-results" / "short-studies.png"
PARTS = ("service", "ray_host", "gcs_server", "raylet")
"""What outlives a study."""


def main(num_studies: int = NUM_STUDIES) -> dict[str, float]:
    """Growth of each part: median late over median early.

    Raises:
        RuntimeError: a trainer or a driver was left without a study.
    """
    on_two_cores()
    with TemporaryDirectory(prefix="bench-") as name:
        home = Path(name) / "home"
        service, url, key = _serve(home)
        try:
            samples, states = _studies(service, home, url, key, num_studies)
            if left := _left(home):
                raise RuntimeError(f"{left} trainers or drivers live on without a study")
        finally:
            service.send_signal(signal.SIGTERM)
            service.wait(60)
            marks.end_marked(marks.HOME, home_mark(home))
    plot(samples, PLOT, "studies ended (%)")
    figures: dict[str, float] = {f"{part}_growth": growth(samples, part) for part in PARTS}
    figures["largest_growth"] = max(figures.values())
    figures |= {f"{part}_mb": samples[-1][1][part] for part in PARTS}
    figures |= {f"studies_{state}": states.count(state) for state in sorted(set(states))}
    sys.stdout.write("".join(f"{name:36} {value:10.3f}\n" for name, value in figures.items()) + f"plot: {PLOT}\n")
    return figures


def _serve(home: Path) -> tuple["subprocess.Popen[str]", str, str]:
    command = [sys.executable, "-P", "-m", "service.cli.main", "serve", "--home", str(home), "--port", "0"]
    log = home.parent / "service.log"
    with log.open("w") as output:
        service = subprocess.Popen(
            [*command, "--tracking-uri", "none"], stdout=output, stderr=output, text=True, env=child_environment()
        )
    while not (found := re.search(r"^ready: (\S+)", log.read_text(), re.MULTILINE)):
        if service.poll() is not None:
            raise RuntimeError(log.read_text())
        time.sleep(0.1)
    return service, found[1], (home / "serve.key").read_text(encoding="utf-8").strip()


def _studies(
    service: "subprocess.Popen[str]", home: Path, url: str, key: str, num_studies: int
) -> tuple[list[Sample], list[str]]:
    samples: list[Sample] = []
    states: list[str] = []
    waiting: dict[str, int] = {}
    submitted = 0
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=60, trust_env=False) as client:
        while len(states) < num_studies:
            while submitted < num_studies and len(waiting) < NUM_WAITING:
                waiting[_submit(client, submitted)] = submitted
                submitted += 1
            time.sleep(POLL_S)
            for study_id, number in list(waiting.items()):
                study = client.get(f"/v1/studies/{study_id}").json()
                if study["state"] == "running" and number % ONE_IS_CANCELLED_OF == 0:
                    client.post(f"/v1/studies/{study_id}:cancel").raise_for_status()
                if study["state"] in ("done", "cancelled", "errored"):
                    del waiting[study_id]
                    states.append(study["state"])
                    _sample(samples, service, home, len(states) / num_studies)
    return samples, states


def _submit(client: httpx.Client, number: int) -> str:
    document: dict[str, Any] = one_step(NUM_TRIALS)
    document["name"] = f"short-{number}"
    # Each its own, or its trials would be taken over from the one before.
    document["workloads"][0]["budget"]["steps"] = document["workloads"][0]["evaluation"]["every_steps"] = (
        NUM_STEPS + number
    )
    answer = client.post("/v1/studies", json=document)
    answer.raise_for_status()
    return str(answer.json()["id"])


def _sample(samples: list[Sample], service: "subprocess.Popen[str]", home: Path, share: float) -> None:
    sizes = {"service": psutil.Process(service.pid).memory_info().rss / 1e6}
    for process in marks.marked(marks.HOME, home_mark(home)):
        with suppress(psutil.Error):
            name = "ray_host" if "workers.cluster.ray_host" in " ".join(process.cmdline()) else process.name()
            if name in PARTS:
                sizes[name] = process.memory_info().rss / 1e6
    if len(sizes) == len(PARTS):
        samples.append((share, sizes))


def _left(home: Path) -> int:
    """Trainers and drivers that live half a minute after the last study has ended."""
    deadline = time.monotonic() + LEFT_S
    while (left := _of_studies(home)) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    return len(left)


def _of_studies(home: Path) -> list[int]:
    found = []
    for process in marks.marked(marks.HOME, home_mark(home)):
        with suppress(psutil.Error):
            line = " ".join(process.cmdline())
            if process.pid != os.getpid() and (line.startswith("ray::Trainer") or "workers.cluster --study" in line):
                found.append(process.pid)
    return found
