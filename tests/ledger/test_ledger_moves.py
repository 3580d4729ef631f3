"""Whatever is asked in whatever order: nothing leaves a final state, and what the ledger says stays consistent."""

import contextlib
import shutil
import tempfile
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from schemas.errors import StaleFence, WrongState
from schemas.trials import Outcome, TrialState
from tests.ledger.making import (
    EXECUTION,
    TTL_S,
    drive,
    finish,
    new_study,
    new_trials,
    packs_of,
    planned,
    receipt,
    recounted,
    segments,
)
from workers.ledger.inputs import PackProgress
from workers.ledger.ledger import Ledger
from workers.ledger.rows import EventKind, PackState

pytestmark = pytest.mark.slow

NUM_TRIALS = 4
ANY_PACK = st.integers(0, 5)
ANY_OUTCOME = st.sampled_from([*Outcome, None])


class Moves(RuleBasedStateMachine):
    """One study, its drivers (some replaced), and people who cancel and continue."""

    def __init__(self):
        super().__init__()
        self.home = tempfile.mkdtemp()
        self.ledger = Ledger.open(self.home)
        self.finished_before = self.another_study_has_finished()
        self.study_id = new_study(self.ledger, trials=self.trials).id
        self.fences = [drive(self.ledger, self.study_id, "0")]
        self.finals = {}  # (trial id, attempt) -> its row when first seen final
        self.receipts = []
        self.replans = 0

    @property
    def trials(self):
        return [replace(trial, steps=10**i) for i, trial in enumerate(new_trials(NUM_TRIALS))]

    def another_study_has_finished(self):
        study_id, fence, pack_ids = planned(self.ledger)
        finish(self.ledger, study_id, fence, pack_ids[:1], outcome=Outcome.STALLED)
        return [trial.trial_id for trial in self.ledger.trials(study_id, state=TrialState.DONE)]

    def teardown(self):
        self.ledger.close()
        shutil.rmtree(self.home)

    @property
    def fence(self):
        return self.fences[-1]

    def pack(self, number, *states):
        packs = self.ledger.packs(self.study_id, states or None)
        return packs[number % len(packs)] if packs else None

    @rule()
    def another_driver_takes_over(self):
        self.ledger.release_lease(self.study_id, "run", str(len(self.fences) - 1), self.fence)
        lease = self.ledger.acquire_lease(self.study_id, "run", str(len(self.fences)), TTL_S)
        if lease is None:  # a continue has fenced off the holder
            lease = self.ledger.acquire_lease(
                self.study_id, "run", self.ledger.lease(self.study_id, "run").owner, TTL_S
            )
        self.fences.append(lease.fence)

    @initialize(reuse=st.sampled_from([None, False, True]))
    def begin(self, reuse):
        if reuse is not None:
            self.plan(reuse)

    @rule(reuse=st.booleans())
    def plan(self, reuse):
        with contextlib.suppress(WrongState, StaleFence, ValueError):
            keys = [(trial_id, "m" * 64, EXECUTION) for trial_id in self.finished_before if reuse]
            reused = self.ledger.find_reusable(self.study_id, keys)
            packs = packs_of(self.study_id, [trial for trial in self.trials if trial.trial_id not in reused])
            self.ledger.write_plan(self.study_id, 0, packs, self.fence, "cpu", reused=list(reused.values()))

    @rule(number=ANY_PACK, progress=st.booleans())
    def start(self, number, progress):
        if pack := self.pack(number):
            with contextlib.suppress(WrongState, StaleFence):
                (running,) = self.ledger.start_packs(self.study_id, [pack.pack_id], self.fence)
                if progress:
                    self.ledger.record_progress(
                        self.study_id, self.fence, [PackProgress(pack.pack_id, running.attempt, segments("a"), {}, 5)]
                    )

    @rule(number=ANY_PACK, outcome=ANY_OUTCOME)
    def finish(self, number, outcome):
        if pack := self.pack(number):
            self.receipts.append(receipt(pack, outcome))
            with contextlib.suppress(StaleFence):
                ended = self.ledger.commit_receipts(self.study_id, self.fence, self.receipts[-1:])
                assert bool(ended) == (pack.state is PackState.RUNNING)

    @rule(outcome=st.sampled_from([Outcome.TRAINED, None]))
    def run_to_the_end(self, outcome):
        with contextlib.suppress(StaleFence, WrongState):
            self.ledger.set_study_state(self.study_id, TrialState.RUNNING, fence=self.fence)
            for pack in self.ledger.packs(self.study_id, [PackState.QUEUED]):
                (running,) = self.ledger.start_packs(self.study_id, [pack.pack_id], self.fence)
                self.ledger.commit_receipts(self.study_id, self.fence, [receipt(running, outcome)])
            self.ledger.set_study_state(self.study_id, TrialState.DONE, fence=self.fence)

    @precondition(lambda self: self.receipts)
    @rule(number=ANY_PACK)
    def commit_again(self, number):
        with contextlib.suppress(StaleFence, ValueError):
            self.ledger.commit_receipts(self.study_id, self.fence, [self.receipts[number % len(self.receipts)]])

    @rule()
    def requeue(self):
        with contextlib.suppress(StaleFence):
            self.ledger.requeue_packs(self.study_id, None, self.fence, "died")

    @rule(number=ANY_PACK)
    def fail(self, number):
        if pack := self.pack(number):
            with contextlib.suppress(WrongState, StaleFence):
                self.ledger.fail_pack(self.study_id, pack.pack_id, self.fence, "bug")

    @rule(number=ANY_PACK)
    def replan(self, number):
        if pack := self.pack(number, PackState.QUEUED, PackState.RUNNING):
            self.replans += 1
            members = [trial for trial in new_trials(NUM_TRIALS) if trial.trial_id in dict(pack.members)]
            with contextlib.suppress(StaleFence):
                solo = packs_of(self.study_id, members, size=1, tag=f"r{self.replans}-")
                self.ledger.replan(self.study_id, pack.pack_id, solo, self.fence)

    @rule(state=st.sampled_from(list(TrialState)))
    def set_state(self, state):
        with contextlib.suppress(WrongState, StaleFence):
            self.ledger.set_study_state(self.study_id, state, fence=self.fence)

    @rule()
    def ask_to_cancel(self):
        self.ledger.request_cancel(self.study_id)

    @rule()
    def continue_(self):
        before = self.ledger.study(self.study_id)
        after = self.ledger.continue_study(self.study_id)
        assert after.state == TrialState.QUEUED or after == before

    @invariant()
    def no_attempt_leaves_its_final_state(self):
        for trial in new_trials(NUM_TRIALS):
            for row in self.ledger.trial_attempts(self.study_id, trial.trial_id):
                if row.state.is_final:
                    first = self.finals.setdefault((row.trial_id, row.attempt), row)
                    assert (row.state, row.outcome, row.summary) == (first.state, first.outcome, first.summary)

    @invariant()
    def each_trial_counts_once_by_its_newest_attempt(self):
        counted = self.ledger.counts(self.study_id)
        assert sum(counted[state] for state in TrialState) == NUM_TRIALS
        for trial in new_trials(NUM_TRIALS):
            attempts = self.ledger.trial_attempts(self.study_id, trial.trial_id)
            assert [row.attempt for row in attempts] == list(range(1, len(attempts) + 1))
            assert [row.is_newest for row in attempts] == [False] * (len(attempts) - 1) + [True]
            assert all(row.state in (TrialState.CANCELLED, TrialState.ERRORED) for row in attempts[:-1])

    @invariant()
    def the_counts_kept_are_those_of_a_full_count(self):
        study = self.ledger.study(self.study_id)
        assert (study.counts, study.steps, study.steps_unfinished) == recounted(self.ledger, self.study_id)
        assert self.ledger.counts(self.study_id) == study.counts

    @invariant()
    def a_final_study_has_only_final_trials(self):
        if self.ledger.study(self.study_id).state.is_final:
            assert all(trial.state.is_final for trial in self.ledger.trials(self.study_id))

    @invariant()
    def a_trial_runs_exactly_while_its_pack_does(self):
        packs = {pack.pack_id: pack for pack in self.ledger.packs(self.study_id)}
        for trial in self.ledger.trials(self.study_id):
            if trial.pack_id is not None and not trial.state.is_final:
                assert trial.state == packs[trial.pack_id].state
                assert (trial.trial_id, trial.slot) in packs[trial.pack_id].members

    @invariant()
    def events_are_gapless_and_studies_leave_a_final_state_by_a_continue_only(self):
        events = self.ledger.events(self.study_id)
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        study = [event.kind for event in events if event.kind.startswith("study_")]
        final = {EventKind.STUDY_DONE, EventKind.STUDY_CANCELLED, EventKind.STUDY_ERRORED}
        for now, following in pairwise(study):
            assert (now in final) == (following == EventKind.STUDY_CONTINUED)


TestMoves = Moves.TestCase
TestMoves.settings = settings(
    max_examples=6, stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
