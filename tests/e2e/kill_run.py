"""Two controllers and three APIs on one Postgres, killed at random and started again while studies are submitted."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from service.client import Client, ClientError, ServerUnreachable, SubmitUnanswered
from tests.e2e.commands import COMMAND, environment
from tests.e2e.fake_controller import FAKE
from tests.e2e.serving import ended_at_last, processes_of_home
from tests.e2e.specs import digits

ROOT = Path(__file__).parents[2]
NUM_CONTROLLERS, NUM_APIS, NUM_SUBMITTERS, NUM_LISTENERS = 2, 3, 4, 3
RESTART_S = 1.0
RETRY_S = 3.0
"""So long a submission stays with one API before it goes to the next."""
REPLAYED = 0.3
"""The part of submissions that are sent once more though they were answered."""


@dataclass(frozen=True)
class Plan:
    """What one run does."""

    seed: int
    kill_s: float
    """So long processes are killed."""
    kill_every_s: float
    num_fake: int
    num_real: int
    drain_s: float
    """So long everything may take to be done after the last kill."""

    @property
    def names(self) -> list[str]:
        """Of all studies, the real ones spread among the others."""
        fakes, reals = (
            [f"{kind}{i}" for i in range(n)] for kind, n in ((FAKE, self.num_fake), ("real ", self.num_real))
        )
        every = max(1, self.num_fake // max(1, self.num_real))
        for number, name in enumerate(reals):
            fakes.insert(number * (every + 1), name)
        return fakes

    def document(self, name: str) -> dict[str, Any]:
        """Each study its own number of steps, or the trials of one would be taken over by the next."""
        return digits(20 + self.names.index(name), num_seeds=1, name=name)


@dataclass
class Part:
    """A process of the service, which may be killed and started again."""

    name: str
    command: list[str]
    log: Path
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """Start it; that it is up is not waited for."""
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command, cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    def kill(self) -> None:
        """`kill -9`: of this process alone."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Ask it to end; its exit status."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(60)


@dataclass
class Found:
    """What a run has seen."""

    plan: Plan
    url: str
    journal: Path
    kills: Counter[str] = field(default_factory=Counter)
    ids: dict[str, set[str]] = field(default_factory=dict)
    """Name of a study -> every id that an API has answered for it."""
    unanswered: int = 0
    heard: dict[str, list[int]] = field(default_factory=dict)
    """Id of a study -> numbers of its events, as one listener has heard them."""
    statuses: dict[str, int] = field(default_factory=dict)
    left: dict[int, str] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)
    records: dict[str, list[int]] = field(default_factory=dict)
    """Id of a real trial -> the steps of its records."""
    verdicts: list[str] = field(default_factory=list)
    """Of the real studies."""
    in_homes: set[str] = field(default_factory=set)
    """Names of what lies in the homes of the controllers."""
    seconds: float = 0.0


class KillRun:
    """One run. `database`: what the parts share, in which `key` may submit."""

    def __init__(self, plan: Plan, folder: Path, database: str, key: str) -> None:
        self._plan, self._key, self._random = plan, key, random.Random(plan.seed)
        self._homes = [folder / f"controller {number}" for number in range(NUM_CONTROLLERS)]
        self.found = Found(plan, database, folder / "journal")
        shared = ["--database-url", database, "--records", str(folder / "records"), "--tracking-uri", "none"]
        self._heard: list[Future[None]] = []
        self._ports = _free_ports(NUM_APIS)
        self._parts = []
        for number, home in enumerate(self._homes):
            command = [sys.executable, "-m", "tests.e2e.fake_controller", str(self.found.journal), "serve", "--only"]
            command += ["controller", "--home", str(home), "--workers", "3", "--max-running", "3", *shared]
            self._parts.append(Part(f"controller {number}", command, folder / f"controller{number}.log"))
        for number, port in enumerate(self._ports):
            command = [COMMAND, "serve", "--only", "api", "--home", str(folder / f"api {number}"), "--port", str(port)]
            self._parts.append(Part(f"api {number}", [*command, *shared], folder / f"api{number}.log"))

    def run(self) -> Found:
        """Everything, from the first start to the end of the last process."""
        with contextlib.ExitStack() as stack:
            for home in self._homes:
                stack.enter_context(ended_at_last(home))
            stack.callback(self._end)
            for part in self._parts:
                part.start()
            self._await_ready(self._clients(stack))
            began = time.monotonic()
            self._listening = stack.enter_context(ThreadPoolExecutor(NUM_LISTENERS))
            with ThreadPoolExecutor(NUM_SUBMITTERS) as threads:
                submitting = [
                    threads.submit(self._submit, number, name, began) for number, name in enumerate(self._plan.names)
                ]
                self._kill(began + self._plan.kill_s)
                for each in submitting:
                    each.result(self._plan.drain_s)
            self._await_done(stack)
            for heard in self._heard:
                heard.result(60)
            self.found.seconds = time.monotonic() - began
            self._read_answers(stack)
            with ThreadPoolExecutor(len(self._parts)) as threads:
                self.found.statuses = {
                    part.name: status
                    for part, status in zip(self._parts, threads.map(Part.stop, self._parts), strict=True)
                }
            for home in self._homes:
                self.found.left |= processes_of_home(home)
                self.found.in_homes |= {path.name for path in home.iterdir()}
            self.found.said = {part.name: part.log.read_text(encoding="utf-8") for part in self._parts}
        return self.found

    def _clients(self, stack: contextlib.ExitStack, retry_s: float = RETRY_S) -> list[Client]:
        urls = [f"http://127.0.0.1:{port}" for port in self._ports]
        return [stack.enter_context(Client(url, self._key, retry_s=retry_s)) for url in urls]

    def _await_ready(self, clients: Sequence[Client]) -> None:
        """Until a controller has published the data, and every API answers."""
        deadline = time.monotonic() + self._plan.drain_s
        for client in clients:
            while True:
                try:
                    if client.catalog().datasets:
                        break
                except ClientError:
                    pass
                assert time.monotonic() < deadline, "the parts did not come up"
                time.sleep(0.2)

    def _submit(self, number: int, name: str, began: float) -> None:
        """Submit one study when its time has come, to one API after another, until one has answered."""
        choice = random.Random(f"{self._plan.seed} {name}")
        time.sleep(max(0.0, began + 0.8 * self._plan.kill_s * number / len(self._plan.names) - time.monotonic()))
        document, ids = self._plan.document(name), self.found.ids.setdefault(name, set())
        wanted = 2 if choice.random() < REPLAYED else 1
        deadline = time.monotonic() + self._plan.kill_s + self._plan.drain_s
        with contextlib.ExitStack() as stack:
            clients = self._clients(stack)
            while wanted:
                assert time.monotonic() < deadline, f"nobody has accepted {name}"
                try:
                    ids.add(choice.choice(clients).submit(document, idempotency_key=name.replace(" ", "-")).id)
                    wanted -= 1
                except SubmitUnanswered:
                    self.found.unanswered += 1
                except ServerUnreachable:
                    continue
        if number < NUM_LISTENERS:
            self._heard.append(self._listening.submit(self._listen, min(ids), self._ports[number % NUM_APIS]))

    def _listen(self, study_id: str, port: int) -> None:
        """Hear a study to its end, at one API, which is killed meanwhile."""
        with Client(f"http://127.0.0.1:{port}", self._key) as client:
            self.found.heard[study_id] = [event.seq for event in client.events(study_id)]

    def _kill(self, until: float) -> None:
        """Kill one process after another; each is started again within RESTART_S."""
        restarts: list[threading.Timer] = []
        down: set[str] = set()
        while time.monotonic() < until:
            time.sleep(self._random.uniform(0.3, 1.7) * self._plan.kill_every_s)
            up = [part for part in self._parts if part.name not in down]
            # As often a controller as an API, though there are fewer; and now and then a real driver.
            victim = self._random.choices([*up, None], [3 if "controller" in part.name else 2 for part in up] + [2])[0]
            if victim is None:
                self._kill_a_driver()
                continue
            victim.kill()
            self.found.kills[victim.name] += 1
            down.add(victim.name)

            def start(part: Part = victim) -> None:
                part.start()
                down.discard(part.name)

            restarts.append(threading.Timer(self._random.uniform(0.0, RESTART_S), start))
            restarts[-1].start()
        for restart in restarts:
            restart.join()

    def _kill_a_driver(self) -> None:
        drivers = [
            pid
            for home in self._homes
            for pid, line in processes_of_home(home).items()
            if "workers.cluster --study" in line
        ]
        if drivers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._random.choice(sorted(drivers)), signal.SIGKILL)
                self.found.kills["driver"] += 1

    def _await_done(self, stack: contextlib.ExitStack) -> None:
        client = self._clients(stack, self._plan.drain_s)[0]
        deadline = time.monotonic() + self._plan.drain_s
        while True:
            states = Counter(study.state for study in client.studies())
            if states["queued"] + states["running"] == 0:
                return
            assert time.monotonic() < deadline, f"after {self._plan.drain_s:.0f} s without kills: {dict(states)}"
            time.sleep(0.5)

    def _read_answers(self, stack: contextlib.ExitStack) -> None:
        client = self._clients(stack, self._plan.drain_s)[-1]
        for study in client.studies():
            if not study.name.startswith(FAKE):
                self.found.verdicts.append(client.verdict(study.id))
                for trial in client.trials(study.id):
                    self.found.records[trial.id] = client.records(trial.id, columns=["step"])["step"]

    def _end(self) -> None:
        for part in self._parts:
            if part.process is not None and part.process.poll() is None:
                part.kill()


def _free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [listener.getsockname()[1] for listener in listeners]


def journal_lines(path: Path) -> Iterator[tuple[float, str, str, int, int]]:
    """Time (s), what, study, fence, process id of every line, in the order of the times."""
    lines = [line.split() for line in path.read_text(encoding="ascii").splitlines()]
    yield from sorted((float(at), what, study, int(fence), int(pid)) for at, what, study, fence, pid in lines)
