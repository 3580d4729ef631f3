"""How many trainers a driver asks a cluster for: what its packs need, what is its part, what the cluster may grow to.

An actor that finds no room is what an autoscaler takes for demand. So a driver asks for more than there is now, where
the cluster can grow; and lets go of what has no pack, so that it can shrink again.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

MOST_AHEAD = 8
"""So many trainers beyond twice those that there is room for: a cluster of any size grows in a few rounds, and a long
study does not fill it with thousands of actors that wait."""
AGAIN_AFTER_S = 60.0
"""A study that shares the cluster asks it to grow by one. Where that took another's room, it waits so long."""


@dataclass(frozen=True)
class Room:
    """Trainers that fit on a cluster: now, and after it has grown as far as it may."""

    now: int
    at_most: int


class Demand:
    """The number of trainers of one driver."""

    def __init__(
        self, room: Callable[[], Room], max_trainers: int | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._room, self._max_trainers, self._clock = room, max_trainers, clock
        self._not_before = 0.0

    def count(self, num_packs: int, num_up: int, num_studies: int) -> int:
        """Trainers to have or to wait for, one at least.

        Args:
            num_packs: that wait or are trained.
            num_up: trainers that there are now.
            num_studies: between which the cluster is shared.
        """
        room = self._room()
        if num_studies == 1:
            most = min(max(room.now, room.at_most), max(2 * room.now, num_up) + MOST_AHEAD)
        else:
            most = self._part(room, num_up, num_studies)
        if self._max_trainers is not None:
            most = min(most, self._max_trainers)
        return max(1, min(num_packs, most))

    def _part(self, room: Room, num_up: int, num_studies: int) -> int:
        # One more than its part is only asked for once the part is there, and given back at once where it came without
        # the cluster having grown: it was another study's.
        part = max(1, room.now // num_studies)
        if num_up > part:
            self._not_before = self._clock() + AGAIN_AFTER_S
            return part
        may_grow = room.at_most > room.now and num_up == part and self._clock() >= self._not_before
        return part + 1 if may_grow else part
