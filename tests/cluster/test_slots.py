"""Trainers come up when there is room for them, and hold no pack before; who dies or does not fit is replaced."""

from types import SimpleNamespace
from typing import Any

import pytest

from tests.cluster.conftest import FACTS, DeadError, FakeRay
from workers.cluster import slots as slots_module
from workers.cluster.orders import Greeting
from workers.cluster.slots import MAX_STARTS, Slots

WAITS = object()
"""The greeting of a trainer that no node has room for."""


class SlowRay(FakeRay):
    """As FakeRay, but for references that wait; counts what is killed."""

    def __init__(self) -> None:
        self.killed: list[Any] = []

    def wait(self, pending: list[Any], *, num_returns: int, timeout: float) -> tuple[list[Any], list[Any]]:
        return [each for each in pending if each() is not WAITS], []

    def kill(self, actor: Any) -> None:
        self.killed.append(actor)


class Starts:
    """Makes trainers, of which each gives the next answer when it is asked who it is."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.number = 0
        self.actors: list[SimpleNamespace] = []

    def __call__(self) -> Any:
        self.number += 1
        actor = SimpleNamespace(answer=self.answers.pop(0))
        actor.greet = SimpleNamespace(remote=lambda: lambda: actor.answer)
        self.actors.append(actor)
        return actor


@pytest.fixture(autouse=True)
def its_ray(monkeypatch: pytest.MonkeyPatch) -> SlowRay:
    monkeypatch.setattr(slots_module, "ray", SlowRay())
    return slots_module.ray


def slots_of(starts: Starts, count: int = 1, **how: Any) -> Slots:
    return Slots(starts, count, lambda: None, **how)


def facts_of(starts: Starts, **how: Any) -> Any:
    return slots_of(starts, **how).facts(lambda: False)


def test_another_one_is_asked_where_the_first_has_died() -> None:
    starts = Starts(DeadError("out of memory"), Greeting(FACTS))
    assert facts_of(starts) == FACTS
    assert starts.number == 2


def test_where_all_die_the_last_death_is_told() -> None:
    starts = Starts(*[DeadError(f"death {number}") for number in range(MAX_STARTS)])
    with pytest.raises(DeadError, match=f"death {MAX_STARTS - 1}"):
        facts_of(starts)
    assert starts.number == MAX_STARTS


NODE_LOST = (
    "The actor died unexpectedly before finishing this task.\nThe actor died because its node has died. Node Id: 0f"
)
UNAVAILABLE = "The actor 40 is unavailable: The actor is temporarily unavailable: RpcError: Socket closed rpc_code: 14."
"""Ray's words, both."""


def test_however_many_go_with_their_nodes_before_they_are_up_the_next_is_waited_for() -> None:
    starts = Starts(*[DeadError(NODE_LOST), DeadError(UNAVAILABLE)] * MAX_STARTS, Greeting(FACTS))
    assert facts_of(starts) == FACTS
    assert starts.number == 2 * MAX_STARTS + 1


def test_one_that_dies_while_others_are_up_is_replaced_however_often() -> None:
    starts = Starts(Greeting(FACTS), *[DeadError("again")] * 5, Greeting(FACTS))
    slots = slots_of(starts, 2)
    for _ in range(6):
        slots.welcome()
    assert (slots.num_up, starts.number) == (2, 7)


def test_a_trainer_without_room_holds_no_pack_until_it_is_up() -> None:
    starts = Starts(Greeting(FACTS), WAITS)
    slots = slots_of(starts, 2)
    assert slots.facts(lambda: False) == FACTS
    assert (len(slots.idle), slots.num_up, slots.is_awaited) == (1, 1, True)
    starts.actors[1].answer = Greeting(FACTS)
    slots.welcome()
    assert (len(slots.idle), slots.num_up, slots.is_awaited) == (2, 2, False)


def test_whoever_waits_for_the_first_trainer_may_give_up() -> None:
    assert slots_of(Starts(WAITS)).facts(lambda: True) is None


def test_one_that_does_not_fit_is_let_go_for_another(its_ray) -> None:
    odd = Greeting(FACTS, "odd")
    starts = Starts(odd, Greeting(FACTS, "good"))
    assert facts_of(starts, fits=lambda greeting: greeting is not odd) == FACTS
    assert its_ray.killed == [starts.actors[0]]


def test_those_that_are_not_up_are_the_first_to_go_and_idle_ones_the_next(its_ray) -> None:
    starts = Starts(Greeting(FACTS), Greeting(FACTS), WAITS)
    slots = slots_of(starts, 3)
    slots.welcome()
    slots.idle[0].pack = SimpleNamespace()  # type: ignore[assignment]
    slots.resize(2, 0)
    assert its_ray.killed == [starts.actors[2]]
    slots.resize(1, 0)
    assert its_ray.killed == [starts.actors[2], starts.actors[1]]
    assert slots.num_busy == 1


def test_as_many_are_added_as_packs_wait_for_whom_nobody_comes_up() -> None:
    starts = Starts(WAITS, WAITS, WAITS)
    slots = slots_of(starts)
    slots.resize(5, 1)
    assert starts.number == 1
    slots.resize(5, 3)
    assert starts.number == 3
