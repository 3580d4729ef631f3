"""A trainer that dies before it has said anything is replaced, and not for ever."""

from types import SimpleNamespace
from typing import Any

import pytest

from tests.cluster.conftest import FACTS, DeadError, FakeRay
from workers.cluster import slots as slots_module
from workers.cluster.orders import Greeting
from workers.cluster.slots import MAX_STARTS, Slots


class Starts:
    """Makes trainers, of which each gives the next answer when it is asked for its facts."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.number = 0

    def __call__(self) -> Any:
        self.number += 1
        answer = self.answers.pop(0)
        return SimpleNamespace(greet=SimpleNamespace(remote=lambda: lambda: answer))


@pytest.fixture(autouse=True)
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots_module, "ray", FakeRay())


def facts_of(starts: Starts) -> Any:
    return Slots(starts, 1, lambda: None).facts(lambda: False)


def test_another_one_is_asked_where_the_first_has_died() -> None:
    starts = Starts(DeadError("out of memory"), Greeting(FACTS))
    assert facts_of(starts) == FACTS
    assert starts.number == 2


def test_where_all_die_the_last_death_is_told() -> None:
    starts = Starts(*[DeadError(f"death {number}") for number in range(MAX_STARTS)])
    with pytest.raises(DeadError, match=f"death {MAX_STARTS - 1}"):
        facts_of(starts)
    assert starts.number == MAX_STARTS
