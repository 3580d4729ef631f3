"""Nodes whose trainers cannot be used are avoided; a study fails or waits only where no other is left."""

from dataclasses import replace

import pytest

from tests.cluster.conftest import FACTS
from workers.cluster.fitness import ASK_EVERY_S, WITHOUT_NODE_S, CannotRun, Fitness, Nodes, RecordsNotShared
from workers.cluster.orders import Greeting

GOOD = Greeting(FACTS, "a")
OTHER_CPU = Greeting(replace(FACTS, cpu_capability="AVX2"), "b")
STRANGE = Greeting(None, "b", "/records: no file .warmup-bench-place there", is_of_records=True)


class Cluster:
    def __init__(self, *usable: str, own: str = "head") -> None:
        self.nodes, self.time_s = Nodes(frozenset(usable), own), 0.0

    def fitness(self) -> Fitness:
        return Fitness("/records", FACTS, lambda: self.nodes, lambda: self.time_s)


def test_a_trainer_like_the_plan_is_used() -> None:
    fitness = Cluster("a", "b").fitness()
    assert fitness.fits(GOOD)
    assert fitness.avoided == {}


@pytest.mark.parametrize(
    "facts",
    [
        replace(FACTS, cpu_capability="AVX2"),
        replace(FACTS, torch_version="2.0.0"),
        replace(FACTS, device_class="NVIDIA H200"),
    ],
)
def test_a_node_that_gives_other_bits_is_avoided_and_said_once(facts, caplog: pytest.LogCaptureFixture) -> None:
    fitness = Cluster("a", "b").fitness()
    assert not fitness.fits(Greeting(facts, "b"))
    assert not fitness.fits(Greeting(facts, "b"))
    fitness.check()
    assert set(fitness.avoided) == {"b"}
    assert len([record for record in caplog.records if "is avoided" in record.message]) == 1


def test_without_a_plan_every_machine_is_right() -> None:
    assert Fitness("/records", None, lambda: Nodes(frozenset("b"), "b")).fits(OTHER_CPU)


def test_a_study_waits_a_minute_for_a_node_that_fits_and_says_then_what_to_do() -> None:
    cluster = Cluster("b")
    fitness = cluster.fitness()
    assert not fitness.fits(OTHER_CPU)
    cluster.time_s += 1.0
    fitness.check()
    cluster.time_s += WITHOUT_NODE_S + ASK_EVERY_S
    with pytest.raises(CannotRun, match=r"cpu_capability AVX2, planned TEST.*Bring nodes back"):
        fitness.check()


def test_a_node_that_comes_back_in_time_is_waited_for() -> None:
    cluster = Cluster("b")
    fitness = cluster.fitness()
    assert not fitness.fits(OTHER_CPU)
    for usable in ("b", "ab", "b"):
        cluster.nodes = Nodes(frozenset(usable), "head")
        cluster.time_s += WITHOUT_NODE_S * 0.9
        fitness.check()


def test_a_cluster_without_any_node_is_waited_for() -> None:
    cluster = Cluster("b")
    fitness = cluster.fitness()
    assert not fitness.fits(OTHER_CPU)
    cluster.nodes = Nodes(frozenset(), "head")
    for _ in range(3):
        cluster.time_s += WITHOUT_NODE_S
        fitness.check()


def test_one_node_of_several_that_has_other_records_is_let_go_alone() -> None:
    cluster = Cluster("a", "b", "c", own="a")
    fitness = cluster.fitness()
    assert not fitness.fits(STRANGE)
    fitness.check()


@pytest.mark.parametrize(("usable", "own"), [("ab", "a"), ("b", "head")])
def test_records_that_only_the_drivers_node_has_are_refused(usable, own) -> None:
    fitness = Cluster(*usable, own=own).fitness()
    assert not fitness.fits(STRANGE)
    with pytest.raises(RecordsNotShared, match=r"WARMUP_BENCH_RECORDS.*got /records.*allowed .*s3://") as refused:
        fitness.check()
    assert "mounted on all" in str(refused.value)


def test_on_this_machine_a_trainer_that_cannot_be_used_speaks_for_all() -> None:
    with pytest.raises(CannotRun, match="a folder hides them"):
        Fitness("/records").fits(Greeting(None, "a", "packages come from elsewhere: a folder hides them"))
