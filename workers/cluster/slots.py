"""The trainers of one driver: what each is doing, what they report, one put in the place of another."""

import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray

from workers.cluster.orders import PackOrder, Progress, TrainerFacts
from workers.ledger.rows import PackRow

log = logging.getLogger("warmup_bench.driver")

WAIT_S = 0.25
"""The longest wait inside Ray: in between, it is asked whether Ray is still there."""
MAX_STARTS = 3


@dataclass
class Slot:
    """One trainer. `pack` is what it has begun and not ended, `pending` the reference to the turn under way."""

    actor: Any
    pack: PackRow | None = None
    pending: Any = None
    is_leaving: bool = False
    """It is to make room for another study's."""
    is_saved: bool = False
    """Its last turn saved what it has."""


class Slots:
    """The trainers, made by `start`: an actor handle each. Leave its `with` block before Ray is shut down.

    `check` raises once Ray is lost. It is called before everything that asks Ray for something: a dead raylet answers
    nothing, and most calls have no timeout.
    """

    def __init__(self, start: Callable[[], Any], count: int, check: Callable[[], None]) -> None:
        self._start = start
        self._check = check
        self._slots = [Slot(start()) for _ in range(count)]

    def __enter__(self) -> "Slots":
        return self

    def __exit__(self, *error: object) -> None:
        """Forget the trainers, and what they were asked for: Ray is about to be shut down, and ends them."""
        for slot in self._slots:  # the frames of an error on its way up may know them, too
            slot.actor = slot.pending = None
        self._slots.clear()

    def facts(self, gives_up: Callable[[], bool]) -> TrainerFacts | None:
        """What the first trainer says of this machine; waits until it is up, which other studies may delay that have
        the cores, or until `gives_up` says so: None then.

        One that dies before it has answered, as on a machine that is out of memory, is replaced, MAX_STARTS in all.

        Raises:
            ray.exceptions.RayError: none could be started.
            RayLost: as `check` says.
        """
        slot, num_deaths = self._slots[0], 0
        while True:
            pending = slot.actor.facts.remote()
            while not self._ready([pending], 1, WAIT_S):
                if gives_up():
                    return None
            try:
                facts: TrainerFacts = ray.get(pending)
            except ray.exceptions.RayError as error:
                num_deaths += 1
                if num_deaths == MAX_STARTS:
                    raise
                log.warning("a trainer died while it started: %s", error)
                self.replace(slot)
            else:
                return facts

    @property
    def idle(self) -> list[Slot]:
        """Those without a pack."""
        return [slot for slot in self._slots if slot.pack is None]

    @property
    def waiting(self) -> list[Slot]:
        """Those between two turns of a pack."""
        return [slot for slot in self._slots if slot.pack is not None and slot.pending is None]

    @property
    def is_busy(self) -> bool:
        """Whether a turn is under way."""
        return any(slot.pending is not None for slot in self._slots)

    def begin(self, slot: Slot, pack: PackRow, order: PackOrder, turn_s: float) -> None:
        """Give an idle trainer a pack."""
        slot.pack = pack
        slot.pending = slot.actor.advance.remote(order, turn_s)

    def go_on(self, slot: Slot, turn_s: float, *, save: bool = False) -> None:
        """Another turn of the same pack."""
        slot.pending = slot.actor.advance.remote(None, turn_s, save=save)

    def reports(self, timeout_s: float, *, of_all: bool = False) -> list[tuple[Slot, Progress | Exception]]:
        """What has come by `timeout_s`: waits for the first report, or for all. An exception: the trainer died.

        Raises:
            RayLost: as `check` says.
        """
        busy = [slot for slot in self._slots if slot.pending is not None]
        if not busy:
            return []
        pending = [slot.pending for slot in busy]
        wanted = len(pending) if of_all else 1
        deadline = time.monotonic() + timeout_s
        while len(self._ready(pending, wanted, min(WAIT_S, timeout_s))) < wanted and time.monotonic() < deadline:
            pass
        # Asked again: others may be ready beside the first, and their receipts share one transaction.
        ready = self._ready(pending, len(pending), 0.0)
        return [(slot, _taken(slot)) for slot in busy if slot.pending in ready]

    def resize(self, count: int, num_waiting: int) -> None:
        """Come nearer to `count` trainers: add as many as there are packs waiting, or begin to take some away."""
        staying = [slot for slot in self._slots if not slot.is_leaving]
        for slot in sorted(staying, key=lambda slot: slot.pack is not None)[: max(0, len(staying) - count)]:
            slot.is_leaving = True
        for slot in [slot for slot in self.idle if slot.is_leaving]:
            self.remove(slot)
        for _ in range(min(count - len(self._slots), num_waiting - len(self.idle))):
            self._slots.append(Slot(self._start()))

    def save(self, slot: Slot) -> None:
        """A turn that trains nothing and saves what the trainer has."""
        self.go_on(slot, 0.0, save=True)
        slot.is_saved = True

    def remove(self, slot: Slot) -> None:
        """One trainer less, at once."""
        self._check()
        with contextlib.suppress(ray.exceptions.RayError):
            ray.kill(slot.actor)
        self._slots.remove(slot)

    def replace(self, slot: Slot) -> None:
        """A new trainer in the place of a dead one.

        Raises:
            RayLost: as `check` says. It may have died because Ray has.
        """
        self._check()
        with contextlib.suppress(ray.exceptions.RayError):
            ray.kill(slot.actor)
        slot.actor, slot.pack, slot.pending, slot.is_saved = self._start(), None, None, False

    def _ready(self, pending: list[Any], num_returns: int, timeout_s: float) -> list[Any]:
        self._check()
        ready, _ = ray.wait(pending, num_returns=num_returns, timeout=timeout_s)
        return ready


def ran_out_of_memory(error: Exception) -> bool:
    """Whether Ray ended a trainer because the machine ran out of memory; the kernel, if it is first, does not say."""
    return any(words in str(error) for words in ("low on memory", "memory pressure"))


def _taken(slot: Slot) -> Progress | Exception:
    pending, slot.pending = slot.pending, None
    try:
        return ray.get(pending)
    except ray.exceptions.RayError as error:
        return error
