"""A study's budget stops packs from beginning: what has begun is finished, the rest is cancelled and said."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from schemas.study import parse_study
from schemas.study_budget import StudyBudget
from schemas.trials import TrialState
from schemas.workloads import Digits
from service.preparing import prepare
from service.requests import accept
from tests.cluster.conftest import DeadError, House, StopAfter
from tests.e2e.specs import digits
from workers.cluster.planning import StudyTrials, datasets_of, in_turn
from workers.cluster.spending import Spending, gradients_of, trained_seconds
from workers.data import facts_of
from workers.extending import extend_study
from workers.ledger.rows import EventKind, EventRow, PackState
from workers.planning import expand_trials
from workers.results.write import write_results

STEPS = 20
ONE_PACK = 1.0
"""Gradients: used up by whatever pack comes first."""


def document(budget: dict[str, float] | None, num_seeds: int = 1) -> dict[str, Any]:
    return digits(STEPS, num_seeds=num_seeds) | ({"budget": budget} if budget else {})


def budgeted(house: House, budget: dict[str, float], *, workers: int = 1) -> Any:
    """A study with a budget, driven to its end; its row."""
    row = house.add(document(budget))
    drive_to_done(house, row, workers=workers)
    return house.ledger.study(row.id)


def drive_to_done(house: House, row: Any, **how: Any) -> None:
    assert house.drive(study=row, **how) is TrialState.DONE
    fence = house.ledger.study(row.id).attempt
    house.ledger.set_study_state(row.id, TrialState.DONE, reason=house.drivers[-1].reason, fence=fence)


def extend(house: House, row: Any, budget: dict[str, float] | None, num_seeds: int = 1) -> Any:
    wider = parse_study(document(budget, num_seeds))
    return extend_study(house.ledger, row.id, wider, expand_trials(wider, datasets_of(house.ledger)))


def states(house: House, row: Any) -> list[PackState]:
    return sorted(pack.state for pack in house.ledger.packs(row.id))


def numbers(house: House, row: Any) -> list[Any]:
    return [(trial.trial_id, trial.outcome, trial.summary) for trial in house.ledger.trials(row.id)]


# --- counting ---


def pack(attempt: int = 0, load: float = 1.5) -> Any:
    plan = {"gradients_per_step": load, "total_steps": 100}
    return SimpleNamespace(attempt=attempt, plan=plan, members=[("a", 0), ("b", 1)])


def test_a_pack_counts_its_updates_and_what_its_probes_may_spend() -> None:
    assert gradients_of(pack()) == 300.0


def test_packs_that_have_begun_count_and_may_go_on() -> None:
    spending = Spending(StudyBudget(gradients=600.0), [pack(1), pack(0), pack(0)])
    fresh = pack()
    assert spending.may_begin(fresh)
    spending.begin(fresh)
    assert spending.used_up == "budget used up: 600 of 600 gradients"
    assert not spending.may_begin(pack())
    assert spending.may_begin(pack(2))
    spending.begin(pack(2))
    assert "600 of 600" in spending.used_up


def test_without_a_budget_everything_may_begin() -> None:
    assert Spending(None, [pack(1)] * 1000).may_begin(pack())


def at(second: float, kind: EventKind, pack_id: str = "p") -> EventRow:
    return EventRow(1, datetime(2025, 1, 1, tzinfo=UTC) + timedelta(seconds=second), kind, {"pack_id": pack_id})


STARTED, PROGRESS, DONE, REQUEUED = (
    EventKind.PACK_STARTED,
    EventKind.PACK_PROGRESS,
    EventKind.PACK_DONE,
    EventKind.PACK_REQUEUED,
)


@pytest.mark.parametrize(
    ("events", "seconds"),
    [
        ([], 0),
        ([at(0, STARTED), at(4, PROGRESS), at(10, DONE)], 10),
        ([at(0, STARTED), at(2, STARTED, "q"), at(6, DONE), at(9, DONE, "q")], 9),
        ([at(0, STARTED), at(5, DONE), at(100, STARTED), at(101, DONE)], 6),
        # killed after 4 s, taken over an hour later
        ([at(0, STARTED), at(4, PROGRESS), at(3600, REQUEUED), at(3601, STARTED), at(3603, DONE)], 6),
        ([at(0, STARTED), at(4, PROGRESS), at(900, EventKind.PUBLISHING), at(3600, REQUEUED)], 4),
    ],
)
def test_hours_are_those_in_which_something_trained(events: list[EventRow], seconds: float) -> None:
    assert trained_seconds(events) == seconds


def test_hours_before_and_now_add_up() -> None:
    now = [50.0]
    before = [at(0, STARTED), at(3000, DONE)]
    spending = Spending(StudyBudget(hours=1.0), [], before, clock=lambda: now[0])
    assert spending.used_up == ""
    now[0] += 601
    assert spending.used_up == "budget used up: 1 of 1 hours"


# --- order ---


def row(pack_id: str, *trials: Any, number: int = 0) -> Any:
    return SimpleNamespace(pack_id=pack_id, round=number, members=[(one.trial_id, i) for i, one in enumerate(trials)])


def test_whole_comparisons_come_before_the_next_seed() -> None:
    trials = StudyTrials(parse_study(document(None, num_seeds=3)), {"digits": facts_of(Digits(kind="digits"), None)})
    alone = [row(trial.trial_id, trial) for trial in trials.in_order]
    by_id = sorted(alone, key=lambda pack: pack.pack_id)
    order = [trials.by_id[pack.pack_id] for pack in in_turn(by_id, trials)]
    assert [trial.seed.initialization for trial in order] == [0] * 8 + [1] * 8 + [2] * 8
    cells = [(trial.names, trial.peak_lr) for trial in order]
    assert cells[:8] == cells[8:16] == cells[16:]
    assert len(set(cells)) == 8
    several = len({names for names, _ in cells})
    assert several > 1
    assert all(len({names for names, _ in cells[i : i + several]}) == several for i in range(0, 8, several))
    assert all(rate == min(other for each, other in cells if each == names) for names, rate in cells[:several])
    later, *first = (
        row("a", trials.in_order[0], number=1),
        row("c", *trials.in_order[1:4]),
        row("b", *trials.in_order[:1]),
    )
    gone = SimpleNamespace(pack_id="d", round=0, members=[("gone", 0)])
    assert [pack.pack_id for pack in in_turn([later, gone, *first], trials)] == ["b", "c", "d", "a"]


# --- driving ---


@pytest.fixture
def house(make_house) -> House:
    return make_house(num_steps=STEPS)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_what_has_begun_is_finished_and_the_rest_is_cancelled_with_the_reason(house: House, workers: int) -> None:
    row = budgeted(house, {"gradients": ONE_PACK}, workers=workers)
    assert states(house, row) == [PackState.CANCELLED, PackState.DONE]
    assert row.state is TrialState.DONE
    assert row.reason.startswith("budget used up: ")
    assert row.reason.endswith(" of 1 gradients")
    assert (row.counts["done"], row.counts["cancelled"]) == (4, 4)
    cancelled = [trial for trial in house.ledger.trials(row.id) if trial.state is TrialState.CANCELLED]
    assert {trial.reason for trial in cancelled} == {row.reason}


@pytest.mark.slow
def test_a_budget_that_is_enough_changes_nothing(house: House, tmp_path: Path) -> None:
    house.finish()
    row = budgeted(house, {"gradients": 1e9, "hours": 99.0})
    assert (row.reason, row.counts["done"]) == ("", 8)
    plain, with_budget = list(house.ledger.trials(house.study.id)), list(house.ledger.trials(row.id))
    assert [trial.trial_id for trial in plain] == [trial.trial_id for trial in with_budget]
    assert {trial.reused_from for trial in with_budget} == {house.study.id}


@pytest.mark.slow
def test_a_used_up_budget_starts_no_ray_and_is_not_tried_again_by_the_same_file(house: House) -> None:
    row = budgeted(house, {"gradients": ONE_PACK})
    num_rays = house.num_rays
    again = prepare(house.ledger, accept(document({"gradients": ONE_PACK}), house.places), house.places, None)
    assert (again.row.id, again.row.state, again.row.continuations) == (row.id, TrialState.DONE, 0)
    extend(house, row, {"gradients": 0.5})  # a smaller one: there is nothing that it lets begin
    drive_to_done(house, row)
    assert house.num_rays == num_rays
    assert states(house, row) == [PackState.CANCELLED, PackState.DONE]


@pytest.mark.slow
def test_a_larger_budget_goes_on_to_the_bits_of_a_study_without_one(house: House, make_house, tmp_path: Path) -> None:
    row = budgeted(house, {"gradients": ONE_PACK})
    found = extend(house, row, {"gradients": 1e9})
    assert (found.round, found.num_new, found.row.state) == (None, 0, TrialState.QUEUED)
    assert found.row.spec_hash == parse_study(document({"gradients": 1e9})).spec_hash
    drive_to_done(house, row)
    whole = make_house("whole", num_steps=STEPS)
    whole.finish()
    assert house.ledger.study(row.id).reason == ""
    assert numbers(house, row) == numbers(whole, whole.study)


@pytest.mark.slow
def test_without_a_budget_in_the_wider_file_everything_is_trained(house: House) -> None:
    row = budgeted(house, {"gradients": ONE_PACK})
    extend(house, row, None, num_seeds=2)
    drive_to_done(house, row)
    assert house.ledger.study(row.id).counts["done"] == 16


@pytest.mark.slow
def test_a_driver_that_is_stopped_lets_the_next_one_decide(house: House) -> None:
    row = house.add(document({"gradients": ONE_PACK}))
    assert house.drive(study=row, workers=1, stop=StopAfter(3)) is TrialState.QUEUED
    begun = [pack for pack in house.ledger.packs(row.id) if pack.attempt]
    assert len(begun) == 1
    house.ledger.set_study_state(row.id, TrialState.QUEUED)
    drive_to_done(house, row)
    assert {pack.pack_id: pack.state for pack in house.ledger.packs(row.id)}[begun[0].pack_id] is PackState.DONE
    assert states(house, row) == [PackState.CANCELLED, PackState.DONE]


@pytest.mark.slow
def test_a_pack_whose_trainer_dies_is_finished_all_the_same(house: House) -> None:
    row = house.add(document({"gradients": ONE_PACK}))
    errors = [DeadError("killed by signal 9")]
    drive_to_done(house, row, workers=1, fate=lambda turn: errors.pop() if turn == 2 and errors else None)
    assert states(house, row) == [PackState.CANCELLED, PackState.DONE]


@pytest.mark.slow
def test_hours_stop_packs_too(house: House) -> None:
    row = budgeted(house, {"hours": 1e-9})
    assert row.counts["done"] == 0
    assert row.reason.endswith(" of 1e-09 hours")


@pytest.mark.slow
def test_the_verdict_says_what_the_budget_left_out(house: House, tmp_path: Path) -> None:
    row = budgeted(house, {"gradients": ONE_PACK})
    report = write_results(house.ledger, row.id, house.places, tmp_path / "out")
    said = " ".join((tmp_path / "out" / "verdict.txt").read_text().split())
    left_out = f"B{row.reason[1:]}; 4 trials not trained, so what follows is of those that were."
    assert f"4 of 8 trials done. {left_out}" in said
    assert report.budget in (tmp_path / "out" / "report.html").read_text()
