"""Whatever is killed and whenever: every study that was accepted is there once, is run by one at a time, and is done.

Half a minute of it by default; WARMUP_BENCH_LONG=1 makes it 50 studies and two minutes, WARMUP_BENCH_SEED another run.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise

import pytest
from sqlalchemy import func, select

from schemas.trials import TrialState
from tests.e2e.fake_controller import FAKE
from tests.e2e.kill_run import Found, KillRun, Plan, journal_lines
from tests.ledger.conftest import postgres_server  # noqa: F401  # a fixture
from workers.ledger.ledger import Ledger
from workers.ledger.rows import EventKind, EventRow
from workers.ledger.tables import studies, trials

pytestmark = [pytest.mark.slow, pytest.mark.proof]

SEED = int(os.environ.get("WARMUP_BENCH_SEED", "20251124"))
SHORT = Plan(SEED, kill_s=15.0, kill_every_s=2.0, num_fake=9, num_real=1, drain_s=120.0)
LONG = Plan(SEED, kill_s=120.0, kill_every_s=2.0, num_fake=45, num_real=5, drain_s=480.0)
PLAN = LONG if os.environ.get("WARMUP_BENCH_LONG") else SHORT


@pytest.fixture(scope="module")
def found(postgres_server, tmp_path_factory) -> Found:  # noqa: F811
    postgres_server.psql("CREATE SCHEMA kill_run;")
    database = f"{postgres_server.get_uri()}&options=-csearch_path%3Dkill_run"
    with Ledger.open(database) as ledger:
        _, key = ledger.create_key("test", ("read", "submit"), "team")
    found = KillRun(PLAN, tmp_path_factory.mktemp("kill run"), database, key).run()
    print(f"seed {PLAN.seed}: {sum(found.kills.values())} kills ({dict(found.kills)}), {found.unanswered} unanswered")
    print(f"{len(found.ids)} studies in {found.seconds:.0f} s")
    return found


@pytest.fixture
def ledger(found: Found) -> Iterator[Ledger]:
    with Ledger.open(found.url) as opened:
        yield opened


def ids(found: Found) -> set[str]:
    return set().union(*found.ids.values())


def events(ledger: Ledger, study_id: str) -> list[EventRow]:
    every: list[EventRow] = []
    while page := ledger.events(study_id, after=every[-1].seq if every else 0):
        every += page
    return every


def test_something_of_everything_was_killed(found: Found) -> None:
    kinds = Counter(name.split()[0] for name in found.kills.elements())
    assert kinds["controller"] >= 1
    assert kinds["api"] >= 1


def test_every_study_that_was_accepted_is_there_once_and_no_other(found: Found, ledger: Ledger) -> None:
    assert set(found.ids) == set(PLAN.names)
    assert {name: len(answered) for name, answered in found.ids.items()} == dict.fromkeys(PLAN.names, 1)
    with ledger.read() as connection:
        rows = connection.execute(select(studies.c.name, studies.c.id)).all()
    assert sorted(rows) == sorted((name, *answered) for name, answered in found.ids.items())


def test_all_are_done_with_every_trial_once(found: Found, ledger: Ledger) -> None:
    for study_id in ids(found):
        head = ledger.study_head(study_id)
        assert (head.state, head.counts["done"], head.total) == (TrialState.DONE, 8, 8), head.reason
    with ledger.read() as connection:
        most = select(func.count()).select_from(trials).group_by(trials.c.study_id, trials.c.trial_id)
        assert set(connection.execute(most).scalars()) == {1}


def test_events_have_no_gap_and_every_trial_and_every_study_ends_once(found: Found, ledger: Ledger) -> None:
    for study_id in ids(found):
        told = events(ledger, study_id)
        assert [event.seq for event in told] == list(range(1, len(told) + 1))
        ended = Counter(event.payload["trial_id"] for event in told if event.kind is EventKind.TRIAL_DONE)
        assert ended == dict.fromkeys((trial.trial_id for trial in ledger.trials(study_id)), 1)
        kinds = Counter(event.kind for event in told)
        assert (kinds[EventKind.STUDY_CREATED], kinds[EventKind.PLAN_WRITTEN], kinds[EventKind.STUDY_DONE]) == (1, 1, 1)


def test_who_listened_has_heard_every_event_once(found: Found, ledger: Ledger) -> None:
    assert found.heard
    for study_id, numbers in found.heard.items():
        assert numbers == list(range(1, ledger.last_event_seq(study_id) + 1))


def test_no_pack_is_started_while_it_runs(found: Found, ledger: Ledger) -> None:
    for study_id in ids(found):
        running: set[str] = set()
        for event in events(ledger, study_id):
            if event.kind is EventKind.PACK_STARTED:
                assert event.payload["pack_id"] not in running
                running.add(event.payload["pack_id"])
            elif event.kind in (EventKind.PACK_DONE, EventKind.PACK_REQUEUED):
                running.remove(event.payload["pack_id"])
        assert not running


def test_no_two_drivers_act_for_one_study_at_once(found: Found, ledger: Ledger) -> None:
    acts: dict[str, list[tuple[float, int, int]]] = defaultdict(list)
    for at, _, study_id, fence, pid in journal_lines(found.journal):
        acts[study_id].append((at, fence, pid))
    assert set(acts) == {next(iter(answered)) for name, answered in found.ids.items() if name.startswith(FAKE)}
    for study_id, of_one in acts.items():
        # In the order of time, one fence after the other, each in one process: none comes back once another has begun.
        assert all(fence <= following for (_, fence, _), (_, following, _) in pairwise(of_one))
        assert len({(fence, pid) for _, fence, pid in of_one}) == len({fence for _, fence, _ in of_one})
        assert of_one[-1][1] == ledger.study_head(study_id).attempt


def test_the_records_of_real_trials_have_every_step_once(found: Found) -> None:
    assert len(found.records) == 8 * PLAN.num_real
    lengths = {20 + PLAN.names.index(name) for name in PLAN.names if not name.startswith(FAKE)}
    assert {len(steps) for steps in found.records.values()} == lengths
    assert all(steps == list(range(len(steps))) for steps in found.records.values())


def test_their_reports_are_read_where_nothing_of_them_was_written(found: Found) -> None:
    assert len(found.verdicts) == PLAN.num_real
    assert all("all 8 trials done" in verdict for verdict in found.verdicts)


def test_a_home_whose_ledger_is_a_database_has_no_ledger_and_no_key_and_its_address_is_in_no_log(found: Found) -> None:
    assert not {"serve.key", "ledger.sqlite"} & found.in_homes
    assert not any(found.url in said for said in found.said.values())


def test_nothing_went_wrong_by_itself_and_nothing_is_left(found: Found, ledger: Ledger) -> None:
    assert found.statuses == dict.fromkeys(found.statuses, 0)
    assert found.left == {}
    assert ledger.held_leases() == []
    for name, said in found.said.items():
        for bad in ("a round of the controller failed", '"status": 500', "Traceback"):
            assert bad not in said, f"{name}: {said[said.index(bad) - 500 : said.index(bad) + 3_000]}"
