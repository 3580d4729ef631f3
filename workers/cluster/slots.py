"""The trainers of one driver: what each is doing, what they report, one put in the place of another."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray

from workers.cluster.orders import PackOrder, Progress, TrainerFacts
from workers.ledger.rows import PackRow


@dataclass
class Slot:
    """One trainer. `pack` is what it has begun and not ended, `pending` the reference to the turn under way."""

    actor: Any
    pack: PackRow | None = None
    pending: Any = None


class Slots:
    """A fixed number of trainers, made by `start`: an actor handle each."""

    def __init__(self, start: Callable[[], Any], count: int) -> None:
        self._start = start
        self._slots = [Slot(start()) for _ in range(count)]

    def facts(self) -> TrainerFacts:
        """What the first trainer says of this machine; waits until it is up.

        Raises:
            ray.exceptions.RayError: it could not be started.
        """
        return ray.get(self._slots[0].actor.facts.remote())

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
        """What has come by `timeout_s`: waits for the first report, or for all. An exception: the trainer died."""
        busy = [slot for slot in self._slots if slot.pending is not None]
        if not busy:
            return []
        pending = [slot.pending for slot in busy]
        ray.wait(pending, num_returns=len(pending) if of_all else 1, timeout=timeout_s)
        # Asked again: others may be ready beside the first, and their receipts share one transaction.
        ready, _ = ray.wait(pending, num_returns=len(pending), timeout=0)
        return [(slot, _taken(slot)) for slot in busy if slot.pending in ready]

    def replace(self, slot: Slot) -> None:
        """A new trainer in the place of a dead one."""
        with contextlib.suppress(ray.exceptions.RayError):
            ray.kill(slot.actor)
        slot.actor, slot.pack, slot.pending = self._start(), None, None


def _taken(slot: Slot) -> Progress | Exception:
    pending, slot.pending = slot.pending, None
    try:
        return ray.get(pending)
    except ray.exceptions.RayError as error:
        return error
