"""A driver of an extended study trains what is new, and leaves every bit of what was there as it was."""

from collections.abc import Callable
from pathlib import Path

import pytest

from schemas.study import parse_study
from schemas.trials import TrialState
from tests.cluster.conftest import House, StopAfter
from tests.e2e.specs import digits
from workers.cluster import planning
from workers.cluster.planning import datasets_of
from workers.extending import extend_study
from workers.ledger.rows import EventKind
from workers.planning import expand_trials
from workers.records import read_result_table
from workers.results.write import write_results

pytestmark = pytest.mark.slow  # every test trains


@pytest.fixture
def make_house(make_house: Callable[..., House], monkeypatch: pytest.MonkeyPatch) -> Callable[..., House]:
    """Houses whose packs have room for all that an extension adds."""
    monkeypatch.setattr("workers.planning.packs.table_pack_size", lambda *_: 16)
    return make_house


def extend(house: House, num_seeds: int) -> None:
    study = parse_study(digits(40, num_seeds=num_seeds))
    extend_study(house.ledger, house.study.id, study, expand_trials(study, datasets_of(house.ledger)))


def files(house: House) -> dict[str, bytes]:
    root = Path(house.places.records)
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def packs(house: House, number: int) -> list[object]:
    return [pack for pack in house.ledger.packs(house.study.id) if pack.round == number]


@pytest.mark.proof
def test_the_new_trials_alone_are_trained_in_packs_of_their_own(make_house) -> None:
    house = make_house()
    house.finish()
    old_packs, old_files, old_trials = packs(house, 0), files(house), list(house.ledger.trials(house.study.id))
    extend(house, 3)
    seq = house.ledger.last_event_seq(house.study.id)
    house.finish()
    assert packs(house, 0) == old_packs
    assert files(house).items() >= old_files.items()
    assert list(house.ledger.trials(house.study.id))[:8] == old_trials
    new = packs(house, 1)
    assert {trial for pack in new for trial, _ in pack.members}.isdisjoint(trial.trial_id for trial in old_trials)
    assert [(len(pack.members), pack.attempt) for pack in new] == [(8, 1)] * 2
    events = house.ledger.events(house.study.id, after=seq)
    started = {event.payload["pack_id"] for event in events if event.kind is EventKind.PACK_STARTED}
    assert started == {pack.pack_id for pack in new}


def test_packs_have_the_size_and_probe_points_that_they_had(make_house) -> None:
    house = make_house()
    house.finish()
    extend(house, 2)
    house.finish()
    for old, new in zip(
        *(sorted(packs(house, number), key=lambda pack: pack.group_key) for number in (0, 1)), strict=True
    ):
        assert (new.size, new.execution_id, new.plan["points"]) == (old.size, old.execution_id, old.plan["points"])


@pytest.mark.proof
def test_every_trial_has_the_numbers_of_a_study_that_was_wide_from_the_start(make_house, tmp_path: Path) -> None:
    house, whole = make_house(), make_house("whole")
    house.finish()
    extend(house, 3)
    house.finish()
    wide = whole.add(digits(40, num_seeds=3))
    whole.finish(wide)
    write_results(house.ledger, house.study.id, house.places, tmp_path / "grown")
    write_results(whole.ledger, wide.id, whole.places, tmp_path / "wide")
    for table in ("steps", "evaluations", "probes"):
        grown, born = (
            read_result_table(tmp_path / folder, table).to_pandas().astype({"trial_id": str}).set_index("trial_id")
            for folder in ("grown", "wide")
        )
        assert grown.index.nunique() == 24
        assert grown.sort_index(kind="stable").equals(born.sort_index(kind="stable")), table


def test_a_study_extended_before_it_ran_plans_both_rounds_at_once(make_house) -> None:
    house = make_house()
    extend(house, 2)
    house.finish()
    assert [row.planned_at is not None for row in house.ledger.rounds(house.study.id)] == [True, True]
    assert [len(packs(house, number)) for number in (0, 1)] == [2, 2]
    assert house.ledger.study(house.study.id).counts["done"] == 16


def test_a_driver_that_ends_before_a_round_is_planned_leaves_it_to_the_next(make_house) -> None:
    house = make_house()
    house.finish()
    extend(house, 2)
    assert house.drive(stop=StopAfter(1)) is TrialState.QUEUED
    assert [row.planned_at is not None for row in house.ledger.rounds(house.study.id)] == [True, False]
    house.finish()
    assert house.ledger.study(house.study.id).counts["done"] == 16


def test_a_driver_that_dies_between_two_plans_leaves_the_second_to_the_next(make_house, monkeypatch) -> None:
    house = make_house()
    extend(house, 2)
    write_plan = planning.write_plan

    def dies(ledger, study_id, number, *more):
        if number == 1:
            raise KeyboardInterrupt
        write_plan(ledger, study_id, number, *more)

    with monkeypatch.context() as patch:
        patch.setattr(planning, "write_plan", dies)
        with pytest.raises(KeyboardInterrupt):
            house.drive()
    assert [row.planned_at is not None for row in house.ledger.rounds(house.study.id)] == [True, False]
    house.finish()
    assert [len(packs(house, number)) for number in (0, 1)] == [2, 2]


def test_what_was_interrupted_goes_on_beside_what_is_new(make_house) -> None:
    house = make_house()
    assert house.drive(stop=StopAfter(3)) is TrialState.QUEUED
    house.ledger.set_study_state(house.study.id, TrialState.QUEUED)
    begun = {pack.pack_id: pack.step for pack in packs(house, 0)}
    assert all(0 < step < 40 for step in begun.values())
    extend(house, 2)
    house.finish()
    assert {pack.pack_id for pack in packs(house, 0)} == begun.keys()
    assert {pack.attempt for pack in packs(house, 0)} == {2}
    assert house.ledger.study(house.study.id).counts["done"] == 16


def test_new_trials_that_another_study_has_finished_are_taken_over_and_start_no_ray(make_house) -> None:
    house = make_house()
    house.finish()
    house.finish(house.add(digits(40, num_seeds=2)))
    before = house.num_rays
    extend(house, 2)
    house.finish()
    assert house.num_rays == before
    assert packs(house, 1) == []
    events = [event for event in house.ledger.events(house.study.id) if event.kind is EventKind.PLAN_WRITTEN]
    assert [(event.payload["round"], event.payload["num_reused"]) for event in events] == [(0, 0), (1, 8)]
