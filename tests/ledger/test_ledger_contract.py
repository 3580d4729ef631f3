"""What every backend of the ledger does. One long file: it is the contract that a new backend is held against."""

import math

import pytest
from sqlalchemy.exc import IntegrityError

from schemas.errors import StudyNotFound, WrongState
from schemas.trials import Outcome, TrialState
from tests.ledger.making import (
    EXECUTION,
    digest,
    drive,
    finish,
    new_study,
    new_trials,
    packs_of,
    planned,
    receipt,
    recounted,
    result,
    segments,
)
from workers.ledger.inputs import PackProgress, Receipt
from workers.ledger.rows import EventKind, PackState


def kinds(ledger, study_id):
    return [event.kind for event in ledger.events(study_id)]


def states(ledger, study_id):
    return [trial.state for trial in ledger.trials(study_id)]


# Studies


def test_a_new_study_has_its_trials_in_position_order_and_one_event(ledger):
    study = new_study(ledger, 5)
    assert [trial.trial_id for trial in ledger.trials(study.id)] == [trial.trial_id for trial in new_trials(5)]
    assert kinds(ledger, study.id) == [EventKind.STUDY_CREATED]
    assert (study.state, study.total, study.attempt, study.publishing) == (TrialState.QUEUED, 5, 0, "current")
    assert len(study.id) == 16


def test_a_trial_reads_back_as_it_was_given(ledger):
    study = new_study(ledger, 1)
    (given,), (read,) = new_trials(1), ledger.trials(study.id)
    for name in ("trial_id", "cell_id", "round", "workload", "peak_lr", "seed", "swept", "measurement_id", "num_index"):
        assert getattr(read, name) == getattr(given, name)


def test_a_study_whose_trials_fail_on_the_way_leaves_nothing(ledger):
    def trials():
        yield from new_trials(3)
        raise RuntimeError("expansion failed")

    with pytest.raises(RuntimeError):
        ledger.create_study(name="x", spec={}, spec_hash="h", trials=trials(), total=3)
    assert ledger.list_studies() == ([], None)


def test_a_wrong_total_is_refused(ledger):
    with pytest.raises(ValueError, match="got 3, allowed exactly total=4"):
        ledger.create_study(name="x", spec={}, spec_hash="h", trials=new_trials(3), total=4)


def test_a_trial_may_not_occur_twice_in_a_study(ledger):
    with pytest.raises(IntegrityError):
        ledger.create_study(name="x", spec={}, spec_hash="h", trials=new_trials(1) * 2, total=2)


def test_a_study_is_found_by_a_unique_beginning_of_its_id(ledger):
    study = new_study(ledger)
    assert ledger.study(study.id[:6]).id == study.id


@pytest.mark.parametrize("name", ["", "xyz", "0" * 17, "%", "ffff'--"])
def test_what_is_no_id_is_not_found(ledger, name):
    with pytest.raises(StudyNotFound):
        ledger.study(name)


def test_an_ambiguous_beginning_is_refused_with_what_it_matches(ledger, monkeypatch):
    for study_id in ("ab00000000000000", "ab11111111111111"):
        monkeypatch.setattr("secrets.token_hex", lambda _, study_id=study_id: study_id)
        new_study(ledger)
    with pytest.raises(StudyNotFound, match="ab00000000000000, ab11111111111111"):
        ledger.study("ab")


def test_the_newest_study_of_a_spec_is_found_by_its_hash(ledger):
    new_study(ledger, spec_hash="h")
    newest = new_study(ledger, spec_hash="h")
    found = ledger.study_by_spec_hash("h")
    # Two in one millisecond are told apart by their ids.
    assert found.created_at == newest.created_at
    assert ledger.study_by_spec_hash("other") is None
    assert ledger.study_by_spec_hash("h", owner="somebody") is None


def test_pages_of_studies_join_without_gap_or_overlap_newest_first(ledger):
    created = [new_study(ledger, 1).id for _ in range(7)]
    listed, cursor = [], None
    while True:
        page, cursor = ledger.list_studies(limit=3, cursor=cursor)
        listed += page
        if cursor is None:
            break
    assert sorted(study.id for study in listed) == sorted(created)
    assert listed == sorted(listed, key=lambda study: (study.created_at, study.id), reverse=True)


@pytest.mark.parametrize("bad", [{"limit": 0}, {"limit": 1001}, {"cursor": "x"}])
def test_a_bad_page_is_refused(ledger, bad):
    with pytest.raises(ValueError, match="got"):
        ledger.list_studies(**bad)


def test_a_round_adds_trials_and_raises_the_total(ledger):
    study = new_study(ledger, 2)
    more = new_trials(3, start=2, round=1)
    assert ledger.append_round(study.id, "extend", {"seeds": 2}, more) == 1
    assert ledger.study(study.id).total == 5
    assert [(row.round, row.kind, row.num_trials) for row in ledger.rounds(study.id)] == [
        (0, "product", 2),
        (1, "extend", 3),
    ]


# State


def test_a_study_cannot_be_done_while_a_trial_is_not_final(ledger):
    study_id, fence, _ = planned(ledger)
    ledger.set_study_state(study_id, TrialState.RUNNING, fence=fence)
    with pytest.raises(WrongState, match="4 trials are not final"):
        ledger.set_study_state(study_id, TrialState.DONE, fence=fence)


def test_a_study_that_could_not_be_run_leaves_no_trial_waiting(ledger):
    study = new_study(ledger)
    ledger.set_study_state(study.id, TrialState.ERRORED, reason="no space")
    assert states(ledger, study.id) == [TrialState.CANCELLED] * 4
    assert ledger.study(study.id).reason == "no space"


def test_setting_the_present_state_again_is_no_event(ledger):
    study = new_study(ledger)
    ledger.set_study_state(study.id, TrialState.RUNNING)
    ledger.set_study_state(study.id, TrialState.RUNNING)
    assert kinds(ledger, study.id).count(EventKind.STUDY_RUNNING) == 1


def test_cancelling_a_queued_study_that_nobody_drives_takes_effect_at_once_and_once(ledger):
    study = new_study(ledger)
    ledger.request_cancel(study.id)
    ledger.request_cancel(study.id)
    assert ledger.study(study.id).state == TrialState.CANCELLED
    assert states(ledger, study.id) == [TrialState.CANCELLED] * 4
    assert kinds(ledger, study.id)[1:] == [
        EventKind.CANCEL_REQUESTED,
        EventKind.TRIALS_CANCELLED,
        EventKind.STUDY_CANCELLED,
    ]


def test_cancelling_a_driven_study_is_left_to_its_driver(ledger):
    study_id, fence, _ = planned(ledger)
    ledger.request_cancel(study_id)
    assert ledger.cancel_requested(study_id)
    assert ledger.study(study_id).state == TrialState.QUEUED
    assert ledger.cancel_remaining(study_id, fence) == 4
    ledger.set_study_state(study_id, TrialState.CANCELLED, fence=fence)
    assert {pack.state for pack in ledger.packs(study_id)} == {PackState.CANCELLED}


def test_publishing_is_a_field_of_its_own(ledger):
    study = new_study(ledger)
    ledger.set_publishing(study.id, "behind")
    assert (ledger.study(study.id).publishing, ledger.study(study.id).state) == ("behind", TrialState.QUEUED)


# Plan


def test_a_plan_puts_every_trial_in_its_pack_and_slot(ledger):
    study_id, _, pack_ids = planned(ledger)
    assert ledger.has_plan(study_id, 0)
    placed = [(trial.pack_id, trial.slot, trial.execution_id) for trial in ledger.trials(study_id)]
    assert placed == [(pack_id, slot, EXECUTION) for pack_id in pack_ids for slot in (0, 1)]
    (first, _) = ledger.packs(study_id)
    assert first.members == tuple((trial.trial_id, slot) for slot, trial in enumerate(new_trials(2)))
    assert (first.plan, first.state, first.attempt) == ({"probe_points": [0, 10]}, PackState.QUEUED, 0)
    assert ledger.study(study_id).device_class == "cpu"


def test_a_round_is_planned_once(ledger):
    study_id, fence, _ = planned(ledger)
    with pytest.raises(WrongState, match="has a plan already"):
        ledger.write_plan(study_id, 0, [], fence, "cpu")


def test_a_plan_that_leaves_a_trial_out_writes_nothing(ledger):
    study = new_study(ledger)
    fence = drive(ledger, study.id)
    with pytest.raises(ValueError, match="2 missing"):
        ledger.write_plan(study.id, 0, packs_of(study.id, new_trials(2)), fence, "cpu")
    assert not ledger.has_plan(study.id, 0)
    assert ledger.packs(study.id) == []


def test_a_later_round_must_be_planned_for_the_same_device_class(ledger):
    study_id, fence, _ = planned(ledger)
    more = new_trials(2, start=4, round=1)
    ledger.append_round(study_id, "extend", {}, more)
    with pytest.raises(WrongState, match="is planned for cpu, this is H200"):
        ledger.write_plan(study_id, 1, packs_of(study_id, more, tag="q"), fence, "H200")
    ledger.write_plan(study_id, 1, packs_of(study_id, more, tag="q"), fence, "cpu")
    assert ledger.has_plan(study_id, 1)


def test_finished_trials_of_the_same_three_ids_are_taken_over(ledger):
    first, fence, pack_ids = planned(ledger)
    finish(ledger, first, fence, pack_ids[:1], loss=math.nan)
    keys = [(trial.trial_id, trial.measurement_id, EXECUTION) for trial in new_trials(4)]
    second = new_study(ledger)
    found = ledger.find_reusable(second.id, keys)
    assert set(found) == {trial.trial_id for trial in new_trials(2)}

    fence = drive(ledger, second.id)
    rest = packs_of(second.id, new_trials(4)[2:])
    ledger.write_plan(second.id, 0, rest, fence, "cpu", reused=list(found.values()))
    taken = next(iter(ledger.trials(second.id)))
    assert (taken.state, taken.pack_id, taken.reused_from) == (TrialState.DONE, pack_ids[0], first)
    assert math.isnan(taken.summary["loss"])
    assert ledger.manifests(second.id)[pack_ids[0]] == segments(pack_ids[0])
    assert kinds(ledger, second.id).count(EventKind.TRIAL_DONE) == 2
    assert ledger.counts(second.id) == recounted(ledger, second.id)[0]


@pytest.mark.parametrize("other", ["measurement", "execution", "owner"])
def test_trials_that_differ_in_an_id_or_belong_to_another_are_not_reusable(ledger, other):
    study_id, fence, pack_ids = planned(ledger)
    finish(ledger, study_id, fence, pack_ids)
    measurement = "x" * 64 if other == "measurement" else "m" * 64
    execution = "x" * 64 if other == "execution" else EXECUTION
    owner = "somebody" if other == "owner" else "local"
    asking = new_study(ledger, owner=owner)
    assert ledger.find_reusable(asking.id, [(digest("t0"), measurement, execution)]) == {}


def test_a_trial_in_flight_is_not_reusable(ledger):
    study_id, fence, pack_ids = planned(ledger)
    ledger.start_packs(study_id, pack_ids, fence)
    assert ledger.find_reusable(study_id, [(digest("t0"), "m" * 64, EXECUTION)]) == {}


def test_a_replanned_pack_hands_its_trials_to_new_ones(ledger):
    study_id, fence, pack_ids = planned(ledger)
    ledger.start_packs(study_id, pack_ids, fence)
    solo = packs_of(study_id, new_trials(2), size=1, execution_id="f" * 64, tag="solo")
    ledger.replan(study_id, pack_ids[0], solo, fence, reason="out of memory")
    moved = list(ledger.trials(study_id))[:2]
    assert [(trial.state, trial.replanned, trial.pack_id) for trial in moved] == [
        (TrialState.QUEUED, True, pack.pack_id) for pack in solo
    ]
    assert [pack.pack_id for pack in ledger.packs(study_id, [PackState.SUPERSEDED])] == pack_ids[:1]
    with pytest.raises(WrongState):
        ledger.start_packs(study_id, pack_ids[:1], fence)


# Packs


def test_starting_a_pack_raises_its_attempt_and_moves_its_trials(ledger):
    study_id, fence, pack_ids = planned(ledger)
    (pack,) = ledger.start_packs(study_id, pack_ids[:1], fence)
    assert (pack.state, pack.attempt) == (PackState.RUNNING, 1)
    assert states(ledger, study_id) == [TrialState.RUNNING] * 2 + [TrialState.QUEUED] * 2
    with pytest.raises(WrongState):
        ledger.start_packs(study_id, pack_ids[:1], fence)


def test_progress_is_what_a_requeued_pack_resumes_from(ledger):
    study_id, fence, pack_ids = planned(ledger)
    ledger.start_packs(study_id, pack_ids, fence)
    checkpoint = {"name": "c", "step": 40, "loss": math.inf}
    assert ledger.record_progress(study_id, fence, [PackProgress(pack_ids[0], 1, segments("a"), checkpoint, 40)])
    assert ledger.record_progress(study_id, fence, [PackProgress(pack_ids[0], 1, segments("b"), None, 50)])
    (queued,) = ledger.requeue_packs(study_id, pack_ids[:1], fence, "actor died")
    assert (queued.state, queued.step, queued.manifest, queued.checkpoint) == (
        PackState.QUEUED,
        50,
        segments("b"),
        checkpoint,
    )
    (again,) = ledger.start_packs(study_id, pack_ids[:1], fence)
    assert again.attempt == 2
    assert not ledger.record_progress(study_id, fence, [PackProgress(pack_ids[0], 1, [], None, 60)])


def test_the_progress_of_many_packs_is_noted_at_once_but_for_attempts_that_are_over(ledger):
    study_id, fence, pack_ids = planned(ledger)
    ledger.start_packs(study_id, pack_ids, fence)
    ledger.requeue_packs(study_id, pack_ids[:1], fence, "actor died")
    told = [PackProgress(pack_id, 1, segments("a"), None, 7) for pack_id in pack_ids]
    assert ledger.record_progress(study_id, fence, told) == set(pack_ids[1:])
    assert [pack.step for pack in ledger.packs(study_id)] == [0, *[7] * len(pack_ids[1:])]
    assert [event.payload["step"] for event in ledger.events(study_id) if event.kind is EventKind.PACK_PROGRESS] == [7]


def test_a_driver_that_takes_over_queues_all_that_run(ledger):
    study_id, fence, pack_ids = planned(ledger)
    ledger.start_packs(study_id, pack_ids, fence)
    assert len(ledger.requeue_packs(study_id, None, fence, "driver died")) == 2
    assert states(ledger, study_id) == [TrialState.QUEUED] * 4


def test_a_receipt_makes_trials_and_pack_final_and_keeps_a_timing(ledger):
    study_id, fence, pack_ids = planned(ledger)
    started = ledger.start_packs(study_id, pack_ids, fence)
    (first, second) = started[0].members
    mixed = [result(*first, Outcome.DIVERGED, max_loss=math.inf), result(*second, None, why="bug")]
    one = Receipt(pack_ids[0], 1, segments("x"), mixed, seconds=3.0, steps=100, timed_steps=60)
    assert ledger.commit_receipts(study_id, fence, [one, receipt(started[1])]) == pack_ids
    assert states(ledger, study_id) == [TrialState.DONE, TrialState.ERRORED, TrialState.DONE, TrialState.DONE]
    assert ledger.counts(study_id) == {
        "queued": 0,
        "running": 0,
        "done": 3,
        "cancelled": 0,
        "errored": 1,
        "trained": 2,
        "stalled": 0,
        "diverged": 1,
    }
    assert next(iter(ledger.trials(study_id))).summary == {"max_loss": math.inf}
    timing = ledger.timings("cpu", "digits-mlp")[-1]
    assert (timing.size, timing.steps, timing.seconds) == (2, 60, 3.0)
    assert kinds(ledger, study_id)[-6:].count(EventKind.PACK_DONE) == 2


def test_a_receipt_committed_twice_changes_nothing(ledger):
    study_id, fence, pack_ids = planned(ledger)
    started = ledger.start_packs(study_id, pack_ids, fence)
    receipts = [receipt(pack) for pack in started]
    ledger.commit_receipts(study_id, fence, receipts)
    before = (list(ledger.trials(study_id)), ledger.packs(study_id), ledger.events(study_id))
    assert ledger.commit_receipts(study_id, fence, receipts) == []
    assert before == (list(ledger.trials(study_id)), ledger.packs(study_id), ledger.events(study_id))


def test_a_receipt_of_an_earlier_attempt_is_ignored(ledger):
    study_id, fence, pack_ids = planned(ledger)
    (old,) = ledger.start_packs(study_id, pack_ids[:1], fence)
    ledger.requeue_packs(study_id, None, fence, "lost")
    ledger.start_packs(study_id, pack_ids[:1], fence)
    assert ledger.commit_receipts(study_id, fence, [receipt(old)]) == []


@pytest.mark.parametrize("flaw", ["missing", "slot", "outcome"])
def test_a_flawed_receipt_is_refused_whole(ledger, flaw):
    study_id, fence, pack_ids = planned(ledger)
    started = ledger.start_packs(study_id, pack_ids, fence)
    (first, second) = started[0].members
    results = [result(*first), result(*second)]
    if flaw == "missing":
        results.pop()
    else:
        results[1][flaw] = {"slot": 7, "outcome": None}[flaw]
    flawed = Receipt(pack_ids[0], 1, [], results, seconds=1.0, steps=1)
    with pytest.raises(ValueError, match="trial"):
        ledger.commit_receipts(study_id, fence, [receipt(started[1]), flawed])
    assert states(ledger, study_id) == [TrialState.RUNNING] * 4


def test_a_failed_pack_errors_its_trials_with_the_reason(ledger):
    study_id, fence, pack_ids = planned(ledger)
    ledger.start_packs(study_id, pack_ids[:1], fence)
    ledger.fail_pack(study_id, pack_ids[0], fence, "three actors died", log="Traceback")
    failed = next(ledger.trials(study_id))
    assert (failed.state, failed.reason) == (TrialState.ERRORED, "three actors died")
    (pack,) = ledger.packs(study_id, [PackState.ERRORED])
    assert pack.log == "Traceback"


def test_compaction_swaps_the_pointer_only_where_it_still_points_to_the_old_records(ledger):
    study_id, fence, pack_ids = planned(ledger)
    finish(ledger, study_id, fence, pack_ids)
    old, new = segments(pack_ids[0]), segments("compacted")
    assert not ledger.compacted(study_id, pack_ids[0], fence, segments("other"), new)
    assert ledger.compacted(study_id, pack_ids[0], fence, old, new)
    assert ledger.manifests(study_id)[pack_ids[0]] == new


# Continue


def test_continuing_queues_what_was_cancelled_and_keeps_what_is_done(ledger):
    study_id, fence, pack_ids = planned(ledger)
    finish(ledger, study_id, fence, pack_ids[:1])
    ledger.start_packs(study_id, pack_ids[1:], fence)
    ledger.record_progress(study_id, fence, [PackProgress(pack_ids[1], 1, segments("half"), {"step": 50}, 50)])
    ledger.set_study_state(study_id, TrialState.CANCELLED, fence=fence)

    study = ledger.continue_study(study_id)
    assert (study.state, study.continuations, study.cancel_requested) == (TrialState.QUEUED, 1, False)
    assert states(ledger, study_id) == [TrialState.DONE] * 2 + [TrialState.QUEUED] * 2
    assert [trial.state for trial in ledger.trial_attempts(study_id, digest("t2"))] == [
        TrialState.CANCELLED,
        TrialState.QUEUED,
    ]
    assert sum(ledger.counts(study_id)[state] for state in TrialState) == 4
    fence = drive(ledger, study_id)
    (pack,) = ledger.start_packs(study_id, pack_ids[1:], fence)
    assert (pack.step, pack.manifest, pack.checkpoint, pack.attempt) == (50, segments("half"), {"step": 50}, 2)
    ledger.commit_receipts(study_id, fence, [receipt(pack)])
    ledger.set_study_state(study_id, TrialState.DONE)


def test_an_errored_pack_begins_again(ledger):
    study_id, fence, pack_ids = planned(ledger)
    ledger.start_packs(study_id, pack_ids, fence)
    ledger.record_progress(study_id, fence, [PackProgress(pack_ids[0], 1, segments("half"), {"step": 50}, 50)])
    ledger.fail_pack(study_id, pack_ids[0], fence, "bug")
    ledger.set_study_state(study_id, TrialState.ERRORED, fence=fence)
    ledger.continue_study(study_id)
    (pack, _) = ledger.packs(study_id)
    assert (pack.state, pack.step, pack.manifest, pack.checkpoint) == (PackState.QUEUED, 0, [], None)


def test_an_errored_member_of_a_done_pack_gets_its_slot_in_a_pack_of_its_own(ledger):
    study_id, fence, pack_ids = planned(ledger)
    finish(ledger, study_id, fence, pack_ids[1:])
    (pack,) = ledger.start_packs(study_id, pack_ids[:1], fence)
    (first, second) = pack.members
    mixed = Receipt(pack.pack_id, 1, segments("x"), [result(*first), result(*second, None)], seconds=1.0, steps=9)
    ledger.commit_receipts(study_id, fence, [mixed])
    ledger.set_study_state(study_id, TrialState.RUNNING)
    ledger.set_study_state(study_id, TrialState.DONE)
    ledger.continue_study(study_id)
    (own,) = ledger.packs(study_id, [PackState.QUEUED])
    assert (own.pack_id, own.members, own.size) == (f"{pack.pack_id}-1", (second,), pack.size)
    assert finish(ledger, study_id, drive(ledger, study_id), [own.pack_id]) == [own.pack_id]
    assert ledger.counts(study_id)["done"] == 4


def test_continuing_what_is_done_or_under_way_changes_nothing(ledger):
    study_id, fence, pack_ids = planned(ledger)
    assert ledger.continue_study(study_id).attempt == fence
    finish(ledger, study_id, fence, pack_ids)
    ledger.set_study_state(study_id, TrialState.RUNNING)
    ledger.set_study_state(study_id, TrialState.DONE)
    assert ledger.continue_study(study_id).state == TrialState.DONE
    assert EventKind.STUDY_CONTINUED not in kinds(ledger, study_id)


# Reading


def test_trials_are_read_from_a_position_up_to_a_limit_in_a_state(ledger):
    study_id, fence, pack_ids = planned(ledger, 6)
    finish(ledger, study_id, fence, pack_ids[1:2])
    assert [trial.num_index for trial in ledger.trials(study_id, after=1, limit=3)] == [2, 3, 4]
    assert [trial.num_index for trial in ledger.trials(study_id, state=TrialState.DONE)] == [2, 3]


def test_trials_are_read_by_their_ids(ledger):
    study = new_study(ledger, 4)
    asked = [digest("t3"), digest("t1"), digest("unknown")]
    assert {trial.num_index for trial in ledger.trials_by_id(study.id, asked)} == {1, 3}


def test_pages_of_trials_join_without_gap(ledger, monkeypatch):
    monkeypatch.setattr("workers.ledger.reading.PAGE_ROWS", 3)
    study = new_study(ledger, 10)
    assert [trial.num_index for trial in ledger.trials(study.id)] == list(range(10))
    assert [trial.num_index for trial in ledger.trials(study.id, limit=7)] == list(range(7))


def test_events_are_numbered_from_one_and_read_from_a_number_on(ledger):
    study_id, fence, pack_ids = planned(ledger)
    finish(ledger, study_id, fence, pack_ids)
    numbers = [event.seq for event in ledger.events(study_id)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert ledger.last_event_seq(study_id) == numbers[-1]
    assert [event.seq for event in ledger.events(study_id, after=2, limit=2)] == [3, 4]
    assert ledger.events(study_id, after=2**70) == []
    times = [event.at for event in ledger.events(study_id)]
    assert times == sorted(times)
    assert times[0].utcoffset().total_seconds() == 0


# Catalog and publications


def test_publishing_a_data_set_again_replaces_it(ledger):
    ledger.publish_dataset("digits", "a" * 64, {"num_train": 1437})
    ledger.publish_dataset("digits", "b" * 64, {"num_train": 1437, "mean": math.nan})
    assert ledger.dataset("digits").sha256 == "b" * 64
    assert [row.kind for row in ledger.datasets()] == ["digits"]
    assert ledger.dataset("imagenet") is None


def test_unpublished_are_the_trials_whose_records_are_ahead(ledger):
    study_id, fence, pack_ids = planned(ledger)
    assert list(ledger.unpublished(study_id)) == []
    ledger.start_packs(study_id, pack_ids[:1], fence)
    ledger.record_progress(study_id, fence, [PackProgress(pack_ids[0], 1, segments("a"), None, 50)])
    first, second = ledger.unpublished(study_id)
    assert (first.durable_steps, first.is_final, first.run_id, first.offset) == (50, False, None, 0)
    ledger.record_publication(study_id, first.trial_id, "run1", 50, fence)
    assert [row.trial_id for row in ledger.unpublished(study_id)] == [second.trial_id]
    assert ledger.publication(study_id, first.trial_id).run_id == "run1"


def test_the_end_of_a_trial_is_to_be_published_once(ledger):
    study_id, fence, pack_ids = planned(ledger)
    finish(ledger, study_id, fence, pack_ids, steps=100)
    for row in list(ledger.unpublished(study_id)):
        assert row.is_final
        ledger.record_publication(study_id, row.trial_id, "run", row.durable_steps, fence)
    assert len(list(ledger.unpublished(study_id))) == 4
    for row in list(ledger.unpublished(study_id)):
        ledger.record_publication(study_id, row.trial_id, "run", row.durable_steps, fence, is_final=True)
    assert list(ledger.unpublished(study_id)) == []
