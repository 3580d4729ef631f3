"""Many at once: threads, processes, and a process that is killed in the middle of writing."""

import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from schemas.errors import PlaceError
from schemas.trials import TrialState
from tests.ledger.making import TTL_S, at_once, new_study, planned, receipt, segments
from workers.ledger.inputs import PackProgress
from workers.ledger.ledger import Ledger

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
NUM_THREADS = 8


@contextmanager
def writer(ledger, deed, study_id="-"):
    """A started tests.ledger.writer, ended with the block."""
    command = [sys.executable, "-m", "tests.ledger.writer", ledger.url, deed, study_id]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_of_threads_that_race_for_a_lease_one_gets_it(ledger):
    study = new_study(ledger)
    leases = at_once(NUM_THREADS, lambda i: ledger.acquire_lease(study.id, "run", f"thread {i}", TTL_S))
    assert sum(lease is not None for lease in leases) == 1
    assert ledger.study(study.id).attempt == 1


def test_of_processes_that_race_for_a_lease_one_gets_it(ledger):
    study = new_study(ledger)
    with writer(ledger, "race", study.id) as one, writer(ledger, "race", study.id) as other:
        both = (one, other)
        assert [process.stdout.readline() for process in both] == ["ready\n"] * 2
        for process in both:
            process.stdin.write("go\n")
            process.stdin.flush()
        assert sorted(process.stdout.readline() for process in both) == ["lost\n", "won\n"]


def test_threads_that_open_a_fresh_home_at_once_make_one_ledger(place):
    def open_and_write(i):
        with Ledger.open(place) as ledger:
            return new_study(ledger, 1).id

    made = at_once(NUM_THREADS, open_and_write)
    with Ledger.open(place) as ledger:
        assert sorted(made) == sorted(study.id for study in ledger.list_studies()[0])


def test_events_stay_gapless_when_many_threads_write(ledger):
    study_id, fence, pack_ids = planned(ledger, 4 * NUM_THREADS, size=4)

    def run_pack(i):
        (pack,) = ledger.start_packs(study_id, [pack_ids[i]], fence)
        for step in (10, 20, 30):
            ledger.record_progress(study_id, fence, [PackProgress(pack.pack_id, 1, segments("a"), None, step)])
        ledger.commit_receipts(study_id, fence, [receipt(pack)])

    at_once(NUM_THREADS, run_pack)
    events = ledger.events(study_id)
    # created, planned; per pack started, 3 x progress, 4 trials, done
    assert [event.seq for event in events] == list(range(1, 2 + NUM_THREADS * 9 + 1))
    assert ledger.counts(study_id)["done"] == 4 * NUM_THREADS


def test_a_reader_of_events_never_sees_a_number_appear_behind_it(ledger):
    study_id, fence, pack_ids = planned(ledger, 2 * NUM_THREADS)
    ledger.start_packs(study_id, pack_ids, fence)
    num_events = ledger.last_event_seq(study_id) + 5 * (NUM_THREADS - 1)

    def read_or_write(i):
        if i > 0:
            for step in range(5):
                ledger.record_progress(study_id, fence, [PackProgress(pack_ids[i], 1, [], None, step)])
            return []
        seen = []
        while len(seen) < num_events:
            seen += [event.seq for event in ledger.events(study_id, after=len(seen))]
        return seen

    seen, *_ = at_once(NUM_THREADS, read_or_write)
    assert seen == list(range(1, num_events + 1))


def test_as_many_threads_as_an_api_has_read_and_write_side_by_side(ledger):
    def use(i):
        study = new_study(ledger, 20, owner=f"owner {i % 4}")
        ledger.request_cancel(study.id)
        return ledger.trials_page(study.id, owner=study.owner)[0] and ledger.list_studies(owner=study.owner)[0]

    assert all(at_once(40, use))
    assert ledger.studies_by_state()["cancelled"] == 40


def test_where_every_connection_is_busy_it_is_said(ledger, monkeypatch):
    monkeypatch.setattr(ledger.engine.pool, "_timeout", 0.05)
    with ExitStack() as stack:
        for _ in range(ledger.engine.pool.size()):
            stack.enter_context(ledger.engine.connect())
        with pytest.raises(PlaceError, match="all connections of this process were busy"):
            ledger.list_studies()
    assert ledger.list_studies() == ([], None)


@pytest.mark.parametrize("deed", ["create_half", "commit_half"])
def test_a_writer_that_is_killed_leaves_nothing_half_written(ledger, deed):
    study_id, fence, pack_ids = planned(ledger)
    ledger.start_packs(study_id, pack_ids, fence)
    before = (ledger.study(study_id), ledger.packs(study_id), list(ledger.trials(study_id)), ledger.events(study_id))
    with writer(ledger, deed, study_id) as process:
        assert process.stdout.readline() == "ready\n"
        process.kill()
    after = (ledger.study(study_id), ledger.packs(study_id), list(ledger.trials(study_id)), ledger.events(study_id))
    assert before == after
    assert len(ledger.list_studies()[0]) == 1
    ledger.cancel_remaining(study_id, fence)  # and the next writer need not wait
    assert ledger.counts(study_id)[TrialState.CANCELLED] == 4
