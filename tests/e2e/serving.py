"""`warmup-bench serve` as a process, spoken to over HTTP; and the processes of its home, told by their marks."""

import os
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.e2e.commands import paced, wait_for
from workers import marks
from workers.ledger.ledger import Ledger
from workers.shared_ray import home_mark


@dataclass
class Served:
    """A running service."""

    process: "subprocess.Popen[str]"
    home: Path
    stderr: Path
    # One for all requests: making one reads the certificates of the system, and takes longer than most answers.
    client: httpx.Client
    url: str = ""

    def said(self) -> str:
        """What it has said so far, but for requests."""
        lines = self.stderr.read_text(encoding="utf-8").splitlines()
        return "\n".join(line for line in lines if '"event": "request"' not in line)

    def request(self, method: str, path: str, **more: Any) -> Any:
        """An answer's JSON, asked for with the home's own key."""
        key = (self.home / "serve.key").read_text(encoding="utf-8").strip()
        headers = {"Authorization": f"Bearer {key}"}
        answer = self.client.request(method, f"{self.url}{path}", headers=headers, **more)
        assert answer.status_code < 300, answer.text
        return answer.json()

    def submit(self, document: dict[str, Any], **query: Any) -> str:
        """The id of a new study."""
        return str(self.request("POST", "/v1/studies", json=document, params=query)["id"])

    def study(self, study_id: str) -> Any:
        """The study as it stands."""
        return self.request("GET", f"/v1/studies/{study_id}")

    def wait_until(self, study_id: str, state: str) -> Any:
        """The study, once it is in that state."""
        study = wait_for(lambda: self._settled(study_id, state), f"{study_id} to be {state}; {self.said()}")
        assert study["state"] == state, study["reason"]
        return study

    def wait_for_steps(self, *study_ids: str) -> None:
        """Until some of their steps are durable."""
        with Ledger.open(self.home, create=False) as ledger:
            for study_id in study_ids:
                wait_for(
                    lambda study_id=study_id: (
                        any(pack.step for pack in ledger.packs(study_id)) or self._settled(study_id, "done")
                    ),
                    f"durable steps; {self.said()}",
                )
                head = ledger.study_head(study_id)
                assert not head.state.is_final, f"{head.state} {head.reason}: {self.said()}"

    def _settled(self, study_id: str, state: str) -> Any:
        """The study, once it is in that state, or in one that it will not leave."""
        study = self.study(study_id)
        return study if study["state"] in (state, "done", "errored", "cancelled") else None

    def kill(self) -> None:
        """`kill -9`: of the service alone."""
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to end; its exit status."""
        self.process.send_signal(number)
        return self.process.wait(60)


@contextmanager
def ended_at_last(home: Path) -> Iterator[Path]:
    """A home of which nothing runs any more afterwards, whatever a test has left."""
    try:
        yield home
    finally:
        marks.end_marked(marks.HOME, home_mark(home))


@contextmanager
def serve(home: Path, *flags: object, pace: Path | None = None) -> Iterator[Served]:
    """Serve a home on a free port. `pace`: see commands.paced."""
    home.parent.mkdir(parents=True, exist_ok=True)
    stderr = home.parent / f"{home.name}.{len(list(home.parent.glob(f'{home.name}.*.err')))}.err"
    arguments = ["serve", "--home", home, "--port", "0", "--tracking-uri", "none", *flags]
    program, environment = paced(pace)
    with stderr.open("w") as file:
        process = subprocess.Popen(
            [*program, *map(str, arguments)], cwd=home.parent, env=environment, stdout=file, stderr=file, text=True
        )
    served = Served(process, home, stderr, httpx.Client(timeout=30, trust_env=False))
    try:
        found = wait_for(
            lambda: process.poll() is not None or re.search(r"^ready(?:: (\S+))?", served.said(), re.MULTILINE),
            "readiness",
        )
        assert process.poll() is None, served.said()
        served.url = found[1] or ""
        yield served
    finally:
        served.client.close()
        if process.poll() is None:
            served.stop()


def processes_of_home(home: Path) -> dict[int, str]:
    """Process id -> name of every living process that a service of this home has started, Ray's among them."""
    found = {}
    for process in marks.marked(marks.HOME, home_mark(home)):
        try:
            if marks.lives(process):
                found[process.pid] = " ".join(process.cmdline()) or process.name()
        except psutil.Error:
            continue
    return found


def trainers_of_home(home: Path) -> list[int]:
    """Process ids of the trainers."""
    return [pid for pid, line in processes_of_home(home).items() if line.startswith("ray::Trainer")]
