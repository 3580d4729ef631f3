"""How many trainers a driver asks a cluster for."""

import pytest

from workers.cluster.demand import AGAIN_AFTER_S, MOST_AHEAD, Demand, Room


class Cluster:
    def __init__(self, now: int, at_most: int) -> None:
        self.room, self.time_s = Room(now, at_most), 0.0

    def demand(self, max_trainers: int | None = None) -> Demand:
        return Demand(lambda: self.room, max_trainers, lambda: self.time_s)

    def grow(self, now: int) -> None:
        self.room = Room(now, self.room.at_most)


@pytest.mark.parametrize(
    ("now", "at_most", "num_packs", "num_studies", "count"),
    [
        (4, 4, 100, 1, 4),  # a cluster that cannot grow
        (4, 4, 3, 1, 3),  # what its packs need
        (4, 4, 0, 1, 1),  # one says what the nodes are, before there is a plan
        (0, 0, 5, 1, 1),  # no node is up yet: one waits for it
        (4, 1000, 100, 1, 8 + MOST_AHEAD),  # grows in rounds
        (0, 1000, 5, 1, 5),  # a cluster that begins with no node
        (4, 4, 100, 2, 2),  # equal parts
        (4, 4, 100, 9, 1),
    ],
)
def test_a_study_asks_for_what_it_needs_as_far_as_its_part_goes(now, at_most, num_packs, num_studies, count) -> None:
    assert Cluster(now, at_most).demand().count(num_packs, 0, num_studies) == count


def test_the_most_trainers_that_are_allowed_bound_it() -> None:
    assert Cluster(8, 8).demand(max_trainers=3).count(100, 0, 1) == 3


def test_it_shrinks_with_the_packs_that_are_left() -> None:
    demand = Cluster(8, 8).demand()
    assert [demand.count(num_packs, 8, 1) for num_packs in (9, 5, 2, 1)] == [8, 5, 2, 1]


def test_one_that_shares_a_cluster_that_can_grow_asks_for_one_more_once_it_has_its_part() -> None:
    cluster = Cluster(4, 8)
    demand = cluster.demand()
    assert demand.count(100, 1, 2) == 2
    assert demand.count(100, 2, 2) == 3
    cluster.grow(6)
    assert demand.count(100, 3, 2) == 4, "its part is three now"


def test_what_it_took_from_another_study_it_gives_back_and_does_not_ask_for_again_soon() -> None:
    cluster = Cluster(4, 8)
    demand = cluster.demand()
    assert demand.count(100, 3, 2) == 2, "the cluster has not grown, so the third was the other's"
    assert demand.count(100, 2, 2) == 2
    cluster.time_s += AGAIN_AFTER_S
    assert demand.count(100, 2, 2) == 3
