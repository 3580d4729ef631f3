"""A driver whose trainers sleep instead of training: `python sleeping_driver.py SLOTS SECONDS --study ID --home HOME`.

SLOTS trainers live in a few asynchronous actors, so that Ray carries every order and every report; a pack takes SECONDS
of sleep, told in turns as a trainer tells its. The driver is `workers.cluster` as it is. When all trials are done it
ends, without a report, and says what it used: a line of JSON.
"""

import asyncio
import json
import math
import resource
import sys
import time
from dataclasses import asdict
from typing import Any

import ray

from schemas.trials import Outcome, TrialResult, TrialState
from workers.cluster import grounds, local_ray
from workers.cluster.facts import facts_without_trainer
from workers.cluster.orders import Greeting, PackOrder, Progress, TrainerFacts
from workers.planning import packs
from workers.results import write

NUM_HOSTS, CONCURRENCY = 4, 1_000
PACK_SIZE = 20
"""So small that there are several packs for each of a thousand slots."""


class Dormitory:
    """An actor with many trainers that sleep."""

    def __init__(self, facts: TrainerFacts, seconds: float) -> None:
        self._facts, self._seconds = facts, seconds
        self._orders: dict[int, tuple[PackOrder, float]] = {}

    async def greet(self, number: int) -> Greeting:
        """As Trainer.greet."""
        return Greeting(self._facts)

    async def advance(self, number: int, order: PackOrder | None, turn_s: float, save: bool = False) -> Progress:
        """As Trainer.advance, asleep."""
        if order is not None:
            self._orders[number] = (order, 0.0)
        order, slept = self._orders[number]
        nap = min(turn_s, self._seconds - slept)
        await asyncio.sleep(nap)
        slept += nap
        self._orders[number] = (order, slept)
        is_done = slept >= self._seconds
        share = 1.0 if is_done else slept / self._seconds
        step = int(share * order.task.total_steps(1))
        results = [_result(member.trial.trial_id, member.slot) for member in order.task.members] if is_done else None
        return Progress(order.task.pack_id, order.attempt, step, step, [], None, slept, results)


def _result(trial_id: str, slot: int) -> dict[str, Any]:
    numbers = dict.fromkeys(("train_loss", "train_eval_loss", "validation_loss", "validation_accuracy"), 1.0)
    result = TrialResult(
        trial_id, Outcome.TRAINED, "budget", None, 1.0, 1, 0, 2.3, 2.3,
        {**numbers, "test_loss": math.nan, "test_accuracy": math.nan}, numbers, 2.3, 0.1, 1.0, 0,
    )  # fmt: skip
    summary = asdict(result) | {"device": "cpu"}
    for name in ("trial_id", "outcome", "reason"):
        del summary[name]
    return {
        "trial_id": trial_id, "slot": slot, "state": str(TrialState.DONE), "outcome": str(result.outcome),
        "reason": result.reason, "summary": summary,
    }  # fmt: skip


class _Method:
    def __init__(self, method: Any, number: int) -> None:
        self._method, self._number = method, number

    def remote(self, *arguments: Any, **more: Any) -> Any:
        return self._method.remote(self._number, *arguments, **more)


class Sleeper:
    """What stands for the handle of one trainer."""

    def __init__(self, host: Any, number: int) -> None:
        self.greet, self.advance = _Method(host.greet, number), _Method(host.advance, number)


def install(seconds: float) -> None:
    """Trainers that sleep, in the place of those that train."""
    kill, facts = ray.kill, facts_without_trainer("cpu")
    hosts: list[Any] = []
    numbers = iter(range(10**9))

    def start(*_: Any, **__: Any) -> Sleeper:
        if not hosts:
            actor = ray.remote(Dormitory).options(num_cpus=0, max_concurrency=CONCURRENCY)
            hosts.extend(actor.remote(facts, seconds) for _ in range(NUM_HOSTS))
        number = next(numbers)
        return Sleeper(hosts[number % NUM_HOSTS], number)

    def end(*error: Any) -> None:
        hosts.clear()

    def write_nothing(*_: Any, **__: Any) -> None:
        """There are no records to read."""

    ray.kill = lambda actor, **more: None if isinstance(actor, Sleeper) else kill(actor, **more)
    grounds.start_trainer = start
    grounds.local_ray = lambda num_cpus, num_gpus=0: local_ray.local_ray(NUM_HOSTS)
    local_ray.LocalRay.end = _first(end, local_ray.LocalRay.end)  # type: ignore[method-assign]
    write.write_results = write_nothing
    packs.table_pack_size = lambda *_: PACK_SIZE


def _first(before: Any, after: Any) -> Any:
    def both(self: Any) -> None:
        before()
        after(self)

    return both


def main() -> int:
    """The driver's exit status."""
    from workers.cluster.__main__ import main as drive

    num_slots, seconds, *arguments = sys.argv[1:]
    install(float(seconds))
    began = time.monotonic()
    status = drive([*arguments, "--workers", num_slots, "--tracking-uri", "none"])
    used = resource.getrusage(resource.RUSAGE_SELF)
    said = {
        "status": status, "seconds": time.monotonic() - began, "cpu_s": used.ru_utime + used.ru_stime,
        "max_rss_mb": used.ru_maxrss / 1024,
    }  # fmt: skip
    sys.stdout.write(f"{json.dumps(said)}\n")
    return status


if __name__ == "__main__":
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    sys.exit(main())
