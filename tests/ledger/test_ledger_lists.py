"""Lists of studies and pages of trials: filters, visibility, and cursors."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from schemas.errors import StudyNotFound
from schemas.trials import Outcome, TrialState
from tests.ledger.making import digest, finish, new_study, new_trials, planned
from workers.ledger.tables import studies

START = datetime(2026, 1, 1, tzinfo=UTC)
ONE = timedelta(milliseconds=1)


def ids(page):
    return [row.id for row in page[0]]


def walk(ask):
    """All pages of `ask(cursor)`."""
    rows, cursor = ask(None)
    while cursor is not None:
        page, cursor = ask(cursor)
        assert page
        rows = rows + page
    return rows


def made_at(ledger, study_id, time):
    milliseconds = round(time.timestamp() * 1000)
    with ledger.write() as connection:
        connection.execute(update(studies).where(studies.c.id == study_id).values(created_ms=milliseconds))


@pytest.fixture
def three(ledger):
    """Three studies, a millisecond apart, the oldest first: their ids."""
    made = []
    for number, (name, owner) in enumerate([("warmup a", "a"), ("Warmup a", "a"), ("warmup b_%", "b")]):
        made.append(new_study(ledger, name=name, owner=owner).id)
        made_at(ledger, made[-1], START + number * ONE)
    return made


def test_studies_are_filtered_by_owner_state_and_name(ledger, three):
    assert ids(ledger.list_studies(owner="a")) == [three[1], three[0]]
    ledger.request_cancel(three[0])
    assert ids(ledger.list_studies(state=TrialState.CANCELLED)) == [three[0]]
    assert ids(ledger.list_studies(owner="b", state=TrialState.CANCELLED)) == []
    assert ids(ledger.list_studies(name="warmup a")) == [three[0]]
    assert ids(ledger.list_studies(name="warmup a", owner="b")) == []


def test_a_name_that_ends_with_a_star_is_the_beginning_of_names(ledger, three):
    assert ids(ledger.list_studies(name="warmup*")) == [three[2], three[0]]
    assert ids(ledger.list_studies(name="warmup*", owner="a")) == [three[0]]
    assert ids(ledger.list_studies(name="warmup b_*")) == [three[2]]
    assert ids(ledger.list_studies(name="warmup a_*")) == []
    assert len(ids(ledger.list_studies(name="*"))) == 3


def test_studies_are_filtered_by_the_time_they_were_made(ledger, three):
    assert ids(ledger.list_studies(created_after=START)) == [three[2], three[1]]
    assert ids(ledger.list_studies(created_before=START + 2 * ONE)) == [three[1], three[0]]
    assert ids(ledger.list_studies(created_after=START, created_before=START + 2 * ONE)) == [three[1]]
    assert ids(ledger.list_studies(created_before=START + ONE / 2)) == [three[0]]
    assert ids(ledger.list_studies(created_after=datetime.max.replace(tzinfo=UTC))) == []
    with pytest.raises(ValueError, match="with a zone"):
        ledger.list_studies(created_after=datetime(2026, 1, 1))


def test_filtered_pages_join_without_gap_or_overlap_where_many_were_made_at_one_time(ledger):
    made = [new_study(ledger, 1, owner="ab"[number % 2]).id for number in range(9)]
    for study_id in made:
        made_at(ledger, study_id, START)
    listed = walk(lambda cursor: ledger.list_studies(2, cursor, owner="a"))
    assert [row.id for row in listed] == sorted(made[::2], reverse=True)


def test_a_listed_study_is_the_study_without_its_spec(ledger, three):
    (row, *_), _ = ledger.list_studies()
    assert row == ledger.study_head(three[2])
    whole = ledger.study(three[2])
    assert all(getattr(whole, name) == getattr(row, name) for name in row.__dataclass_fields__)
    assert not hasattr(row, "spec")
    assert row.counts["queued"] == 4


def test_studies_are_counted_by_state(ledger, three):
    ledger.request_cancel(three[0])
    assert ledger.studies_by_state() == {"queued": 2, "running": 0, "done": 0, "cancelled": 1, "errored": 0}


def test_another_owners_study_is_not_found_in_the_words_of_one_that_never_was(ledger, three):
    assert ledger.study(three[2], owner="b").id == three[2]
    missing = "0" * 16
    asked = (
        lambda study_id: ledger.study(study_id, owner="a"),
        lambda study_id: ledger.study_head(study_id, owner="a"),
        lambda study_id: ledger.trials_page(study_id, owner="a"),
    )
    for ask in asked:
        with pytest.raises(StudyNotFound) as theirs:
            ask(three[2])
        with pytest.raises(StudyNotFound) as nobodys:
            ask(missing)
        assert str(theirs.value) == str(nobodys.value).replace(missing, three[2])


def test_a_beginning_of_an_id_names_no_other_owners_study(ledger, monkeypatch):
    for study_id, owner in (("ab00000000000000", "a"), ("ab11111111111111", "b")):
        monkeypatch.setattr("secrets.token_hex", lambda _, study_id=study_id: study_id)
        new_study(ledger, owner=owner)
    assert ledger.study("ab", owner="a").id == "ab00000000000000"


@pytest.mark.parametrize("study_id", ["", "\x00", "%", "ab"])
def test_what_is_no_id_has_no_page_of_trials(ledger, study_id):
    with pytest.raises(StudyNotFound, match="16 hexadecimal digits"):
        ledger.trials_page(study_id)


# Trials


def varied(number):
    return [
        type(trial)(
            **{name: getattr(trial, name) for name in trial.__dataclass_fields__}
            | {"workload": f"w{index % 2}", "optimizer": f"o{index % 3}", "schedule": f"s{index // 4}"}
        )
        for index, trial in enumerate(new_trials(number))
    ]


def positions(rows):
    return [row.num_index for row in rows]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, range(12)),
        ({"workload": "w1"}, range(1, 12, 2)),
        ({"optimizer": "o2"}, range(2, 12, 3)),
        ({"schedule": "s1"}, range(4, 8)),
        ({"workload": "w0", "optimizer": "o0", "schedule": "s1"}, [6]),
        ({"state": TrialState.DONE}, [2, 3, 4, 5]),
        ({"outcome": Outcome.DIVERGED}, [4, 5]),
        ({"outcome": Outcome.TRAINED, "state": TrialState.QUEUED}, []),
        ({"schedule": "s9"}, []),
    ],
)
def test_pages_of_trials_hold_what_the_filters_let_through_in_position_order(ledger, filters, expected):
    study_id, fence, pack_ids = planned(ledger, 12, trials=varied(12))
    finish(ledger, study_id, fence, pack_ids[1:2])
    finish(ledger, study_id, fence, pack_ids[2:3], outcome=Outcome.DIVERGED)
    for limit in (1, 2, 5, 1000):
        rows = walk(lambda cursor, limit=limit: ledger.trials_page(study_id, limit, cursor, **filters))
        assert positions(rows) == list(expected)


def test_a_page_shows_the_newest_attempt_only(ledger):
    study_id, fence, _ = planned(ledger)
    ledger.set_study_state(study_id, TrialState.CANCELLED, fence=fence)
    ledger.continue_study(study_id)
    rows, _ = ledger.trials_page(study_id)
    assert [(row.num_index, row.attempt, row.state) for row in rows] == [(i, 2, TrialState.QUEUED) for i in range(4)]
    assert ledger.trials_page(study_id, state=TrialState.CANCELLED) == ([], None)


@pytest.mark.parametrize("bad", [{"limit": 0}, {"limit": 1001}, *({"cursor": text} for text in ("x", "-1", "9" * 11))])
def test_a_bad_page_of_trials_is_refused(ledger, bad):
    study = new_study(ledger)
    with pytest.raises(ValueError, match="got"):
        ledger.trials_page(study.id, **bad)


def test_a_trial_is_found_in_the_newest_study_that_its_owner_may_see(ledger):
    mine, theirs, newest = (new_study(ledger, owner=owner).id for owner in ("a", "b", "a"))
    assert ledger.trial_holders(digest("t1"), "a").study_id == newest
    assert ledger.trial_holders(digest("t1"), "b").study_id == theirs
    assert ledger.trial_holders(digest("t1")).study_id == newest
    assert ledger.trial_holders(digest("t1"), "c") is None
    assert ledger.trial_holders(digest("unknown")) is None
    assert ledger.trial_holders("\x00") is None
    assert mine not in (theirs, newest)


def test_standings_are_the_newest_event_and_the_state_of_each_study(ledger, three):
    ledger.request_cancel(three[0])
    standings = ledger.standings([*three, "0" * 16])
    assert standings == {
        study_id: (ledger.last_event_seq(study_id), ledger.study(study_id).state) for study_id in three
    }
    assert standings[three[0]] == (4, TrialState.CANCELLED)


def test_the_version_of_a_study_rises_with_every_change_of_it(ledger):
    study_id, fence, pack_ids = planned(ledger)
    seen = [ledger.study(study_id)]
    changes = (
        lambda: ledger.start_packs(study_id, pack_ids, fence),
        lambda: ledger.requeue_packs(study_id, None, fence, "died"),
        lambda: ledger.set_publishing(study_id, "behind"),
        lambda: ledger.request_cancel(study_id),
        lambda: ledger.set_study_state(study_id, TrialState.CANCELLED),
        lambda: ledger.continue_study(study_id),
        lambda: ledger.acquire_lease(study_id, "run", "driver", 60.0),
    )
    for change in changes:
        change()
        seen.append(ledger.study(study_id))
        assert seen[-1].version > seen[-2].version


def test_a_current_schema_is_told_from_one_that_another_program_migrated(ledger):
    assert ledger.schema_is_current()
    with ledger.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    assert not ledger.schema_is_current()
