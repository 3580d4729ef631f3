"""Cores shared by the drivers of one Ray: how many each may have, and a study whose share shrinks and grows."""

import pytest

from schemas.trials import TrialState
from workers.cluster import driver as driver_module
from workers.cluster.sharing import ASK_EVERY_S, Share
from workers.ledger.rows import EventKind
from workers.records import RecordStore, SegmentRef


class Ledger:
    def __init__(self) -> None:
        self.num_studies, self.num_asked = 1, 0

    def num_running(self) -> int:
        self.num_asked += 1
        return self.num_studies


@pytest.mark.parametrize(
    ("num_workers", "num_studies", "share"), [(8, 1, 8), (8, 2, 4), (8, 3, 2), (2, 5, 1), (4, 0, 4)]
)
def test_studies_have_equal_parts_and_one_trainer_at_least(num_workers, num_studies, share) -> None:
    ledger = Ledger()
    ledger.num_studies = num_studies
    mine = Share(ledger, is_shared=True)
    mine.num_workers = num_workers
    assert mine.now() == share


def test_a_driver_with_a_ray_of_its_own_has_all_of_it_and_asks_nobody() -> None:
    ledger = Ledger()
    ledger.num_studies = 3
    mine = Share(ledger, is_shared=False)
    mine.num_workers = 4
    assert (mine.now(), ledger.num_asked) == (4, 0)


def test_the_ledger_is_asked_every_other_second() -> None:
    ledger, now = Ledger(), [0.0]
    mine = Share(ledger, is_shared=True, clock=lambda: now[0])
    mine.num_workers = 2
    assert [mine.now(), mine.now()] == [2, 2]
    ledger.num_studies = 2
    assert (mine.now(), ledger.num_asked) == (2, 1)
    now[0] += ASK_EVERY_S
    assert (mine.now(), ledger.num_asked) == (1, 2)


class ScriptedShare:
    """The parts that a driver is given, one an answer; the last for ever."""

    parts: list[int]

    def __init__(self, ledger, *, is_shared: bool) -> None:
        self.num_workers = 0

    def now(self) -> int:
        return self.parts.pop(0) if len(self.parts) > 1 else self.parts[0]


def curves(house):
    """The trials of each pack, and what they have measured at every step."""
    store = RecordStore(house.places.records)
    found = {}
    for pack in house.ledger.packs(house.study.id):
        table = store.read(tuple(SegmentRef(**row) for row in pack.manifest), "steps").to_pydict()
        found[pack.members] = {name: column for name, column in table.items() if name not in ("pack_id", "attempt")}
    return found


def test_a_study_that_gives_a_core_away_and_gets_it_back_ends_with_the_same_bits(make_house, monkeypatch) -> None:
    undisturbed = make_house("peace", num_steps=80)
    undisturbed.finish()
    house = make_house("shared", num_steps=80)
    monkeypatch.setattr(driver_module, "Share", ScriptedShare)
    ScriptedShare.parts = [2, 2, 1, 1, 2]
    assert house.drive() is TrialState.DONE
    reasons = [
        event.payload["reason"]
        for event in house.ledger.events(house.study.id)
        if event.kind is EventKind.PACK_REQUEUED
    ]
    assert reasons == ["its core goes to another study"]
    assert len(house.trainers) == 3, "two, and one more when its part had grown again"
    assert curves(house) == curves(undisturbed)


def test_an_idle_trainer_is_the_first_to_go(make_house, monkeypatch) -> None:
    house = make_house(num_steps=20)
    monkeypatch.setattr(driver_module, "Share", ScriptedShare)
    ScriptedShare.parts = [3, 3, 3, 2]  # of three trainers, one never has any of the two packs
    assert house.drive(workers=3) is TrialState.DONE
    kinds = [event.kind for event in house.ledger.events(house.study.id)]
    assert EventKind.PACK_REQUEUED not in kinds
