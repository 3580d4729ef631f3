"""How lists are read: along an index that is in the order of the page, and at the same cost however deep."""

from contextlib import contextmanager, suppress
from datetime import UTC, datetime

import pytest
from sqlalchemy import event

from schemas.errors import StudyNotFound
from schemas.trials import Outcome, TrialState
from tests.ledger.making import drive, finish, new_study, new_trials, packs_of
from workers.ledger.inputs import Idempotency
from workers.ledger.ledger import Ledger

NUM_TRIALS = 2_000
ID = "0" * 16
SINCE = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def home(tmp_path):
    with Ledger.open(tmp_path) as ledger:
        yield ledger


@contextmanager
def statements(ledger):
    """What is executed within the block: [(SQL, parameters)]."""
    seen = []

    def note(connection, cursor, statement, parameters, context, many):
        seen.append((statement, parameters))

    event.listen(ledger.engine, "before_cursor_execute", note)
    yield seen
    event.remove(ledger.engine, "before_cursor_execute", note)


def plan_of(ledger, ask, *, which=-1):
    """The steps of SQLite's plan for the last question of `ask`, or another one."""
    with statements(ledger) as seen:
        ask(ledger)
    question, parameters = [one for one in seen if one[0].startswith("SELECT")][which]
    with ledger.read() as connection:
        return [row.detail for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {question}", parameters)]


PAGES = {
    "studies": (lambda ledger, **more: ledger.list_studies(50, **more), "ix_studies_created_ms_id"),
    "studies of an owner": (
        lambda ledger, **more: ledger.list_studies(50, owner="a", **more),
        "ix_studies_owner_created_ms_id",
    ),
    "studies in a state": (
        lambda ledger, **more: ledger.list_studies(50, state=TrialState.DONE, **more),
        "ix_studies_state_created_ms_id",
    ),
    "studies of an owner in a state": (
        lambda ledger, **more: ledger.list_studies(50, owner="a", state=TrialState.DONE, **more),
        "ix_studies_owner_state_created_ms_id",
    ),
    "studies of a name": (
        lambda ledger, **more: ledger.list_studies(50, name="n", **more),
        "ix_studies_name_created_ms_id",
    ),
    "studies of an owner and a name": (
        lambda ledger, **more: ledger.list_studies(50, owner="a", name="n", **more),
        "ix_studies_owner_name_created_ms_id",
    ),
    "trials": (lambda ledger, **more: ledger.trials_page(ledger.some_study, 50, **more), "uq_trials_position"),
    **{
        f"trials by {name}": (
            lambda ledger, name=name, value=value, **more: ledger.trials_page(
                ledger.some_study, 50, **{name: value}, **more
            ),
            f"ix_trials_{name}",
        )
        for name, value in {
            "state": TrialState.DONE,
            "outcome": Outcome.TRAINED,
            "workload": "w",
            "optimizer": "o",
            "schedule": "s",
        }.items()
    },
}


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("is_first", [True, False])
def test_a_page_is_a_walk_along_the_index_of_its_filters(home, page, is_first):
    ask, index = PAGES[page]
    home.some_study = new_study(home, 1).id
    cursor = f"{2**40}-{ID}" if page.startswith("studies") else "7"
    (step,) = plan_of(home, lambda ledger: ask(ledger) if is_first else ask(ledger, cursor=cursor), which=0)
    assert f"INDEX {index}" in step
    if not is_first:
        assert step.startswith("SEARCH")


READS = {
    "a beginning of a name": lambda ledger: ledger.list_studies(50, owner="a", name="n*"),
    "times": lambda ledger: ledger.list_studies(50, owner="a", created_after=SINCE, created_before=SINCE),
    "study": lambda ledger: ledger.study(ID),
    "a key's study": lambda ledger: ledger.replayed("a", Idempotency("k", "a" * 64)),
    "key": lambda ledger: ledger.key_by_secret("wb_x"),
    "usage": lambda ledger: ledger.usage("a"),
    "claimable": lambda ledger: ledger.claimable(10),
    "running": lambda ledger: ledger.num_running(),
    "trial": lambda ledger: ledger.trial_holders("a" * 64, "a"),
    "standings": lambda ledger: ledger.standings([ID]),
    "events": lambda ledger: ledger.events(ID, after=7),
    "reusable": lambda ledger: ledger.find_reusable(ID, [("t", "m", "e")]),
}


@pytest.mark.parametrize("read", READS)
def test_no_read_of_the_service_goes_through_a_whole_table(home, read):
    def ask(ledger):
        with suppress(StudyNotFound):
            READS[read](ledger)

    steps = plan_of(home, ask)
    assert not [step for step in steps if step.startswith("SCAN")], steps


def test_a_page_of_an_owner_s_trials_is_a_walk_along_the_index_too(home):
    steps = plan_of(home, lambda ledger: ledger.trials_page(new_study(ledger, 3, owner="a").id, 2, owner="a"))
    assert "INDEX uq_trials_position" in steps[0]
    assert not [step for step in steps if step.startswith("SCAN")], steps


def test_a_page_of_trials_is_one_question(home):
    study = new_study(home, 3, owner="a")
    with statements(home) as seen:
        assert len(home.trials_page(study.id, 2, owner="a")[0]) == 2
    assert len([statement for statement, _ in seen if statement.startswith("SELECT")]) == 1


def test_the_counts_of_a_study_are_read_without_its_trials(home):
    study = new_study(home)
    with statements(home) as seen:
        home.study(study.id)
        home.counts(study.id)
        home.list_studies()
        home.usage("local")
    assert not [statement for statement, _ in seen if "trials" in statement.replace("num_trials", "")]


@pytest.fixture
def instructions(home):
    """`count(ask)`: the instructions of SQLite's virtual machine that `ask` takes, in tens."""
    counted = [0]

    def tick():
        counted[0] += 1

    @event.listens_for(home.engine, "begin")
    def watch(connection):
        connection.connection.driver_connection.set_progress_handler(tick, 10)

    def count(ask):
        ask()
        counted[0] = 0
        ask()
        return counted[0]

    return count


@pytest.mark.parametrize("filters", [{}, {"schedule": "linear"}, {"state": TrialState.DONE}], ids=str)
def test_the_last_page_of_trials_costs_what_the_first_does(home, instructions, filters):
    study = new_study(home, NUM_TRIALS)
    fence = drive(home, study.id)
    packs = packs_of(study.id, new_trials(NUM_TRIALS), 100)
    home.write_plan(study.id, 0, packs, fence, "cpu")
    finish(home, study.id, fence, [pack.pack_id for pack in packs])
    first = instructions(lambda: home.trials_page(study.id, 50, **filters))
    last = instructions(lambda: home.trials_page(study.id, 50, str(NUM_TRIALS - 60), **filters))
    assert last == pytest.approx(first, rel=0.1)


def test_the_last_page_of_studies_costs_what_the_first_does(home, instructions):
    for _ in range(200):
        new_study(home, 1, owner="a")
    cursor = None
    for _ in range(18):
        _, cursor = home.list_studies(10, cursor, owner="a")
    first = instructions(lambda: home.list_studies(10, owner="a"))
    last = instructions(lambda: home.list_studies(10, cursor, owner="a"))
    assert last == pytest.approx(first, rel=0.25)
