"""The trainers of one driver: what each is doing, what they report, one put in the place of another."""

import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray

from workers.cluster.orders import Greeting, PackOrder, Progress, TrainerFacts
from workers.ledger.rows import PackRow

log = logging.getLogger("warmup_bench.driver")

WAIT_S = 0.25
"""The longest wait inside Ray: in between, it is asked whether Ray is still there."""
MAX_STARTS = 3


@dataclass
class Slot:
    """One trainer. `pack` is what it has begun and not ended, `pending` the reference to the turn under way."""

    actor: Any
    node_id: str = ""
    """Where it is; empty before it is up."""
    arriving: Any = None
    """The reference to its greeting; None once it is up, and may be given a pack."""
    pack: PackRow | None = None
    pending: Any = None
    is_leaving: bool = False
    """It is to make room for another study's."""
    is_saved: bool = False
    """Its last turn saved what it has."""


class Slots:
    """The trainers, made by `start`: an actor handle each. Leave its `with` block before Ray is shut down.

    A trainer that has not come up yet, as on a cluster that has no room for it, holds no pack; one that `fits` does not
    accept is let go.

    `check` raises once Ray is lost. It is called before everything that asks Ray for something: a dead raylet answers
    nothing, and most calls have no timeout.
    """

    def __init__(
        self,
        start: Callable[[], Any],
        count: int,
        check: Callable[[], None],
        fits: Callable[[Greeting], bool] = lambda greeting: True,
    ) -> None:
        self._start = start
        self._check = check
        self._fits = fits
        self._slots = [self._started() for _ in range(count)]
        self._num_deaths = 0
        self._first: TrainerFacts | None = None

    def __enter__(self) -> "Slots":
        return self

    def __exit__(self, *error: object) -> None:
        """Forget the trainers, and what they were asked for: Ray is about to be shut down, and ends them."""
        for slot in self._slots:  # the frames of an error on its way up may know them, too
            slot.actor = slot.pending = slot.arriving = None
        self._slots.clear()

    def facts(self, gives_up: Callable[[], bool]) -> TrainerFacts | None:
        """What the first trainer that comes up says of its machine; waits for it, which other studies may delay that
        have the cores, or until `gives_up` says so: None then.

        One that dies before it has answered, as on a machine that is out of memory, is replaced, MAX_STARTS in all; one
        that goes with its node is replaced however often.

        Raises:
            ray.exceptions.RayError: none could be started.
            RayLost: as `check` says. As `fits`.
        """
        self.welcome(WAIT_S)
        while self._first is None and not gives_up():
            self.welcome(WAIT_S)
        return self._first

    def welcome(self, timeout_s: float = 0.0) -> None:
        """Note who has come up by `timeout_s`.

        Raises:
            ray.exceptions.RayError: they die one after the other, and none is up.
            RayLost: as `check` says. As `fits`.
        """
        arriving = [slot for slot in self._slots if slot.arriving is not None]
        if not arriving:
            return
        ready = self._ready([slot.arriving for slot in arriving], 1, timeout_s)
        if ready:
            ready = self._ready([slot.arriving for slot in arriving], len(arriving), 0.0)
        for slot in [slot for slot in arriving if slot.arriving in ready]:
            self._arrived(slot)

    def _arrived(self, slot: Slot) -> None:
        try:
            greeting: Greeting = ray.get(slot.arriving)
        except ray.exceptions.RayError as error:
            self._num_deaths += not lost_its_node(error)
            if self._num_deaths >= MAX_STARTS and self.num_up == 0:
                raise
            log.warning("a trainer died while it started: %s", error)
            self.replace(slot)
            return
        if not self._fits(greeting):
            self.replace(slot)
            return
        slot.arriving, slot.node_id, self._num_deaths = None, greeting.node_id, 0
        if greeting.node_id:
            log.info("a trainer is up on node %s", greeting.node_id[:12])
        self._first = self._first or greeting.facts

    @property
    def num_up(self) -> int:
        """Trainers that have come up."""
        return sum(slot.arriving is None for slot in self._slots)

    @property
    def num_busy(self) -> int:
        """Those that have a pack."""
        return sum(slot.pack is not None for slot in self._slots)

    @property
    def idle(self) -> list[Slot]:
        """Those that are up and without a pack."""
        return [slot for slot in self._slots if slot.pack is None and slot.arriving is None]

    @property
    def waiting(self) -> list[Slot]:
        """Those between two turns of a pack."""
        return [slot for slot in self._slots if slot.pack is not None and slot.pending is None]

    @property
    def is_busy(self) -> bool:
        """Whether a turn is under way."""
        return any(slot.pending is not None for slot in self._slots)

    @property
    def is_awaited(self) -> bool:
        """Whether a trainer is coming up."""
        return any(slot.arriving is not None for slot in self._slots)

    def begin(self, slot: Slot, pack: PackRow, order: PackOrder, turn_s: float) -> None:
        """Give an idle trainer a pack."""
        slot.pack = pack
        slot.pending = slot.actor.advance.remote(order, turn_s)

    def go_on(self, slot: Slot, turn_s: float, *, save: bool = False) -> None:
        """Another turn of the same pack."""
        slot.pending = slot.actor.advance.remote(None, turn_s, save=save)

    def reports(self, timeout_s: float, *, of_all: bool = False) -> list[tuple[Slot, Progress | Exception]]:
        """What has come by `timeout_s`: waits for the first report, or for all. An exception: the trainer died.

        A trainer that comes up ends the wait for the first as well: see `welcome`.

        Raises:
            RayLost: as `check` says.
        """
        busy = [slot for slot in self._slots if slot.pending is not None]
        pending = [slot.pending for slot in busy]
        awaited = (
            pending if of_all else [*pending, *(slot.arriving for slot in self._slots if slot.arriving is not None)]
        )
        if not awaited:
            return []
        wanted = len(pending) if of_all else 1
        deadline = time.monotonic() + timeout_s
        while len(self._ready(awaited, wanted, min(WAIT_S, timeout_s))) < wanted and time.monotonic() < deadline:
            pass
        if not pending:
            return []
        # Asked again: others may be ready beside the first, and their receipts share one transaction.
        ready = self._ready(pending, len(pending), 0.0)
        return [(slot, _taken(slot)) for slot in busy if slot.pending in ready]

    def resize(self, count: int, num_waiting: int) -> None:
        """Come nearer to `count` trainers: add as many as there are packs waiting, or begin to take some away, those
        first that are not up yet.
        """
        staying = [slot for slot in self._slots if not slot.is_leaving]
        for slot in sorted(staying, key=_worth)[: max(0, len(staying) - count)]:
            slot.is_leaving = True
        for slot in [slot for slot in self._slots if slot.is_leaving and slot.pack is None]:
            self.remove(slot)
        num_free = sum(slot.pack is None for slot in self._slots)
        for _ in range(min(count - len(self._slots), num_waiting - num_free)):
            self._slots.append(self._started())

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
        new = self._started()
        slot.actor, slot.arriving = new.actor, new.arriving
        slot.pack, slot.pending, slot.is_saved = None, None, False

    def _started(self) -> Slot:
        actor = self._start()
        return Slot(actor, arriving=actor.greet.remote())

    def _ready(self, pending: list[Any], num_returns: int, timeout_s: float) -> list[Any]:
        self._check()
        ready, _ = ray.wait(pending, num_returns=num_returns, timeout=timeout_s)
        return ready


def lost_its_node(error: Exception) -> bool:
    """Whether the trainer went with its node, or cannot be reached any more: what it was doing has no part in that.

    By Ray's words (2.60). Of a node that is lost, who waits for a trainer's turn hears after 1.6 s that the trainer is
    unavailable, and who waits for it to come up after 14 s that its node has died.
    """
    return any(words in str(error) for words in ("its node has died", " is unavailable: "))


def ran_out_of_memory(error: Exception) -> bool:
    """Whether Ray ended a trainer because the machine ran out of memory; the kernel, if it is first, does not say."""
    return any(words in str(error) for words in ("low on memory", "memory pressure"))


def _worth(slot: Slot) -> int:
    """What is lost with it: nothing, a start, or a part of a turn."""
    return 2 if slot.pack is not None else 1 if slot.arriving is None else 0


def _taken(slot: Slot) -> Progress | Exception:
    pending, slot.pending = slot.pending, None
    try:
        return ray.get(pending)
    except ray.exceptions.RayError as error:
        return error
