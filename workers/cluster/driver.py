"""Drives one study to its end: plan, feed the trainers, commit what they report. The ledger decides what runs."""

import contextlib
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable

from schemas.errors import PlaceError, WarmupBenchError
from schemas.own_parts import NO_PARTS
from schemas.study import Study, parse_study
from schemas.study_budget import BUDGET_USED_UP, StudyBudget
from schemas.trials import TrialState
from workers.cluster import tidying
from workers.cluster.aside import Aside
from workers.cluster.facts import facts_without_trainer
from workers.cluster.fitness import CannotRun
from workers.cluster.grounds import Ground
from workers.cluster.heartbeat import Heartbeat
from workers.cluster.orders import PackOrder, Progress, TrainerFacts
from workers.cluster.planning import StudyTrials, datasets_of, has_plans, in_turn, pack_task, planned_facts, write_plans
from workers.cluster.ray_processes import RayLost
from workers.cluster.replanning import halves, parts, smaller
from workers.cluster.reporting import durable, receipt
from workers.cluster.sharing import Share
from workers.cluster.slots import Slot, Slots, lost_its_node, ran_out_of_memory
from workers.cluster.spending import Spending
from workers.cluster.steady_ledger import SteadyLedger
from workers.cluster.stopping import StopRequest
from workers.inspecting import recall
from workers.ledger.inputs import NewPack
from workers.ledger.ledger import Ledger
from workers.ledger.rows import PackRow, PackState
from workers.places import Places
from workers.records import RecordStore

log = logging.getLogger("warmup_bench.driver")

TURN_S, TURN_OF_EACH_S, LONGEST_TURN_S = 1.0, 0.02, 3.0
"""A trainer reports about this often; cancel and preemption are obeyed between its turns. Where there are many, each
reports less often: so many reports a second, whatever their number, are what one driver and one ledger take in."""
POLL_S = 0.25
WIND_DOWN_S, CANCEL_S = 20.0, 6.0
"""So long trainers may take to end a turn and to save, before a stop and before a cancel; what is not saved by then is
trained again, if it ever is."""
CANCELLED = "cancelled"
MAX_DEATHS = 3
"""A pack whose trainer dies this often is guilty until proven otherwise: it is replanned, smaller, and what is left in
the end, one trial, is errored. One whose records are damaged so often is errored at once."""
MAX_LOST_NODES = 10
"""Of one pack, without progress in between: nodes come and go, but one that ends so many may be what ends them."""
RETRY_S = 1.0
"""Before a pack whose trainer died is begun again; doubled for each death after the first."""


class Driver:
    """One run of one study under one fence."""

    def __init__(
        self,
        ledger: Ledger,
        study_id: str,
        places: Places,
        heartbeat: Heartbeat,
        stop: StopRequest,
        *,
        ground: Ground,
        aside: Aside | None = None,
    ) -> None:
        """`ground`: where its trainers run. `aside`: what it keeps beside the records, on a cluster."""
        self._ledger = SteadyLedger(ledger, heartbeat, stop)
        self._study_id = study_id
        self._places = places
        self._heartbeat = heartbeat
        self._fence = heartbeat.fence
        self._stop = stop
        self._ground = ground
        self._aside = aside
        self._share = Share(self._ledger, is_shared=ground.is_shared)
        self._store = RecordStore(places.records)
        copies = aside.copies if aside is not None else None
        self._tidying = tidying.Tidying(self._store, copies.copy if copies is not None else None)
        self._deaths: Counter[str] = Counter()
        self._lost_nodes: Counter[str] = Counter()
        self._not_before: dict[str, float] = {}
        self._queue: deque[PackRow] = deque()
        self._place_error = ""
        self._spending = Spending(None)
        self.reason = ""
        """Why a study that is done has trials that were not trained; else empty."""
        self._own = NO_PARTS

    def run(self) -> TrialState:
        """Train what is not final. Returns the state that the trials allow: done, cancelled, or queued (stopped).

        Raises:
            CannotRun: as it is, and always; what is durable stays.
            PlaceError: what is durable stays; it can be continued once the place can be used. Of a ledger that is only
                away: where the driver was asked to stop meanwhile.
            RayLost: what ran is queued again; a new driver continues.
            StaleFence: another driver has taken over.
        """
        self._ground.prepare(self._study_id)
        row = self._ledger.study(self._study_id)
        study = parse_study(row.spec)
        self._ledger.requeue_packs(self._study_id, None, self._fence, "its driver was replaced")
        self._ledger.set_study_state(self._study_id, TrialState.RUNNING, fence=self._fence)
        self._store.check_writable()
        if self._is_planned() and self._unfinished():
            self._spending = self._spent(study.fields.budget)
            self._end_by_budget()  # before a Ray is started for nothing
        if not self._is_planned() or self._unfinished():
            try:
                self._train(study)
            except RayLost as error:
                with contextlib.suppress(WarmupBenchError):  # then the next driver queues them again
                    self._ledger.requeue_packs(self._study_id, None, self._fence, str(error))
                raise
        if self._fence > 1 and not self._unfinished():
            self._tidying.after_others(self._ledger.packs(self._study_id, [PackState.DONE]), self._fence)
        return self._outcome()

    def _train(self, study: Study) -> None:
        asked = study.fields.execution.device
        device = self._ground.device_before(asked)
        self._own = recall(study, self._places)  # before Ray starts: both take the machine whole
        if self._reason_to_stop() or self._has_planned_reuse_alone(study, device):
            return
        with self._ground.ray(self._study_id, device) as ray_here:
            trials = self._trials(study)
            while not ray_here.ready(POLL_S):
                if self._reason_to_stop():
                    return
            if self._reason_to_stop():
                return
            device = self._ground.device(asked, self._ledger.study(self._study_id).device_class)
            with self._trainers(device, ray_here.check) as self._slots:
                facts = self._slots.facts(self._gives_up)
                if facts is None:
                    return
                self._write_plans(trials, facts)
                self._fitness.expected = facts
                self._spending = self._spent(study.fields.budget)
                self._queue = deque(in_turn(self._ledger.packs(self._study_id, [PackState.QUEUED]), trials))
                self._feed(trials, device)

    def _trainers(self, device: str, check: Callable[[], None]) -> Slots:
        queued = self._ledger.packs(self._study_id, [PackState.QUEUED])
        token = None
        if (aside := self._aside) is not None:
            token = self._ledger.insist(lambda ledger: aside.records_token(ledger, self._places.records))
        self._fitness = self._ground.fitness(self._places, device, planned_facts(queued))
        start = self._ground.starter(self._study_id, self._places, device, token, self._fitness)
        return Slots(start, self._ground.count(self._share, len(queued), 0), check, self._fitness.fits)

    def _gives_up(self) -> bool:
        self._fitness.check()
        return bool(self._reason_to_stop())

    def _trials(self, study: Study) -> StudyTrials:
        return StudyTrials(study, self._ledger.insist(datasets_of), self._own)

    def _has_planned_reuse_alone(self, study: Study, device: str | None) -> bool:
        """Whether no trial has to be trained, because all are finished in other studies: then no Ray is started.

        Only where this machine is the one that would train.
        """
        if device is None or self._is_planned() or not self._ledger.may_be_all_reused(self._study_id):
            return False
        trials = self._trials(study)
        self._write_plans(trials, facts_without_trainer(device))
        return not self._unfinished()

    def _write_plans(self, trials: StudyTrials, facts: TrainerFacts) -> None:
        # Made again, it leaves the rounds that have their plan as they are.
        self._ledger.insist(lambda ledger: write_plans(ledger, self._study_id, trials, facts, self._fence))
        planned = self._ledger.study(self._study_id).device_class
        if planned != facts.device_class:
            raise CannotRun(f"the study is planned for device class {planned}, this machine has {facts.device_class}")

    def _feed(self, trials: StudyTrials, device: str) -> None:
        while not (reason := self._reason_to_stop()):
            self._slots.welcome()
            num_packs = len(self._queue) + self._slots.num_busy
            self._slots.resize(self._ground.count(self._share, num_packs, self._slots.num_up), len(self._queue))
            self._start_idle(trials, device)
            if not self._slots.is_busy:
                if not self._queue:
                    self._end_by_budget()
                    return
                self._fitness.check()
                if not self._slots.is_awaited:
                    time.sleep(POLL_S)  # what is left has lost its trainer, and waits
            self._take(self._slots.reports(POLL_S))
            for slot in self._slots.waiting:
                if slot.is_leaving:
                    self._leave(slot)
                else:
                    self._slots.go_on(slot, self._turn_s)
        self._wind_down(reason)
        if self._place_error:
            raise PlaceError(self._place_error)

    @property
    def _turn_s(self) -> float:
        return min(LONGEST_TURN_S, max(TURN_S, TURN_OF_EACH_S * self._slots.num_up))

    def _start_idle(self, trials: StudyTrials, device: str) -> None:
        idle = self._slots.idle
        chosen = self._next_packs(len(idle))
        if not chosen:
            return
        # Before they are marked as started: a pack that cannot be made into a task has not run.
        tasks = [pack_task(pack, trials, device) for pack in chosen]
        started = self._ledger.start_packs(self._study_id, [pack.pack_id for pack in chosen], self._fence)
        for slot, pack, task in zip(idle, started, tasks, strict=False):
            self._slots.begin(slot, pack, PackOrder(task, pack.attempt, pack.manifest, pack.checkpoint), self._turn_s)

    def _next_packs(self, most: int) -> list[PackRow]:
        """From the queue, but for those that have to wait; packs that the budget does not let begin any more are
        dropped from it."""
        chosen: list[PackRow] = []
        waiting: list[PackRow] = []
        while self._queue and len(chosen) < most:
            pack = self._queue.popleft()
            if self._not_before.get(pack.pack_id, 0.0) > time.monotonic():
                waiting.append(pack)
            elif self._spending.may_begin(pack):
                self._spending.begin(pack)
                chosen.append(pack)
        self._queue.extendleft(reversed(waiting))
        return chosen

    def _spent(self, budget: StudyBudget | None) -> Spending:
        if budget is None:
            return Spending(None)
        return Spending(budget, self._ledger.packs(self._study_id), self._ledger.all_events(self._study_id))

    def _end_by_budget(self) -> None:
        """Cancel what is left where the budget lets none of it begin."""
        reason = self._spending.used_up
        left = self._ledger.packs(self._study_id, [PackState.QUEUED, PackState.RUNNING]) if reason else []
        if left and not any(self._spending.may_begin(pack) for pack in left):
            log.info("%s: %d packs do not begin", reason, len(left))
            self._ledger.cancel_remaining(self._study_id, self._fence, reason=reason)

    def _take(self, reports: Iterable[tuple[Slot, Progress | Exception]]) -> None:
        alive = []
        for slot, report in reports:
            if isinstance(report, Progress):
                alive.append((slot, report))
            else:
                self._bury(slot, report)
        self._commit_finished([pair for pair in alive if pair[1].results is not None])
        for slot, progress in alive:
            if progress.error is not None:
                self._fail(slot, progress)
        self._record([progress for _, progress in alive if progress.error is None and progress.results is None])
        self._tidying.flush()

    def _commit_finished(self, finished: list[tuple[Slot, Progress]]) -> None:
        if finished:
            receipts = [receipt(progress) for _, progress in finished]
            self._ledger.commit_receipts(self._study_id, self._fence, receipts)
        for slot, progress in finished:
            slot.pack = None
            self._tidying.after_the_end(progress)

    def _fail(self, slot: Slot, progress: Progress) -> None:
        assert slot.pack is not None
        pack, slot.pack = slot.pack, None
        log.error("pack %s failed: %s", pack.pack_id, progress.error)
        self._put_log(pack, progress.error or progress.reason)
        if progress.is_place_error:
            # Not the pack's fault, and the next one would fare no better: it is queued again when the driver ends.
            self._place_error = self._place_error or progress.reason
        elif progress.is_damaged and self._deaths[pack.pack_id] < MAX_DEATHS:
            # Nothing of it can be trusted, and all of it can be trained again, to the same bits.
            self._deaths[pack.pack_id] += 1
            reason = f"its records are damaged, so it begins again at step 0: {progress.reason}"
            queued = self._ledger.requeue_packs(self._study_id, [pack.pack_id], self._fence, reason, from_start=True)
            self._queue.extendleft(queued)
        elif progress.is_out_of_memory:
            self._replace(pack, halves(pack), progress.reason, progress.error or "")
        elif progress.is_of_node and self._fitness.avoids(slot.node_id, progress.reason):
            reason = f"its node lacks what it needs: {progress.reason}"
            self._queue.extendleft(self._ledger.requeue_packs(self._study_id, [pack.pack_id], self._fence, reason))
            self._slots.replace(slot)
        elif progress.is_of_all or progress.is_damaged:
            self._replace(pack, [], progress.reason, progress.error or "")
        else:
            self._replace(pack, parts(pack), progress.reason, progress.error or "")

    def _replace(self, pack: PackRow, new: list[NewPack], reason: str, log: str) -> None:
        """Go on with `new` in the place of a pack that cannot be run as it is; where there are none, it is errored."""
        if not new:  # what is durable of it stays to be looked at
            self._ledger.fail_pack(self._study_id, pack.pack_id, self._fence, reason, log=log or reason)
            return
        queued = self._ledger.replan(self._study_id, pack.pack_id, new, self._fence, reason)
        self._queue.extendleft(reversed(queued))
        self._tidying.after_replanning(pack)

    def _record(self, reports: list[Progress]) -> None:
        if not reports:
            return
        noted = self._ledger.record_progress(self._study_id, self._fence, [durable(each) for each in reports])
        for progress in reports:
            if progress.pack_id in noted:
                self._lost_nodes.pop(progress.pack_id, None)
                self._tidying.after_progress(progress)

    def _bury(self, slot: Slot, error: Exception) -> None:
        """A trainer died: a new one takes its place, and its pack goes on from what is durable."""
        assert slot.pack is not None
        pack = slot.pack
        (self._lost_nodes if lost_its_node(error) else self._deaths)[pack.pack_id] += 1
        reason = f"its trainer died: {str(error).splitlines()[0]}"
        log.warning("pack %s: %s", pack.pack_id, error)
        self._put_log(pack, str(error))
        deaths, lost_nodes = self._deaths[pack.pack_id], self._lost_nodes[pack.pack_id]
        if ran_out_of_memory(error) and (halved := halves(pack)):
            self._replace(pack, halved, reason, str(error))
        elif deaths >= MAX_DEATHS or lost_nodes >= MAX_LOST_NODES:
            self._replace(pack, smaller(pack), f"{reason} ({max(deaths, lost_nodes)} times)", str(error))
        else:
            self._not_before[pack.pack_id] = time.monotonic() + RETRY_S * 2 ** max(0, deaths - 1)
            self._queue.extendleft(self._ledger.requeue_packs(self._study_id, [pack.pack_id], self._fence, reason))
        self._slots.replace(slot)

    def _put_log(self, pack: PackRow, text: str) -> None:
        if self._aside is not None:
            self._aside.logs.put_pack(pack.pack_id, pack.attempt, text)

    def _leave(self, slot: Slot) -> None:
        """A trainer makes room for another study's: it saves, and its pack waits for one that stays."""
        assert slot.pack is not None
        if not slot.is_saved:
            self._slots.save(slot)
            return
        reason = "its core goes to another study"
        queued = self._ledger.requeue_packs(self._study_id, [slot.pack.pack_id], self._fence, reason)
        self._queue.extendleft(queued)
        self._slots.remove(slot)

    def _wind_down(self, reason: str) -> None:
        """Let every trainer end its turn, save, and report; then queue again what is not done."""
        log.info("stopping: %s", reason)
        deadline = time.monotonic() + (CANCEL_S if reason == CANCELLED else WIND_DOWN_S)
        self._settle(deadline)
        for slot in self._slots.waiting:
            self._slots.go_on(slot, 0.0, save=True)
        self._settle(deadline)
        self._ledger.requeue_packs(self._study_id, None, self._fence, reason)

    def _settle(self, deadline: float) -> None:
        reports = self._slots.reports(max(0.0, deadline - time.monotonic()), of_all=True)
        # One that dies now needs no successor: its pack is queued again with the others.
        for slot, report in reports:
            if not isinstance(report, Progress):
                slot.pack = None
        self._take([pair for pair in reports if isinstance(pair[1], Progress)])

    def _unfinished(self) -> bool:
        return bool(self._ledger.packs(self._study_id, [PackState.QUEUED, PackState.RUNNING]))

    def _is_planned(self) -> bool:
        return self._ledger.insist(lambda ledger: has_plans(ledger, self._study_id))

    def _outcome(self) -> TrialState:
        if self._is_planned() and not self._unfinished():
            self.reason = self._why_not_all()
            return TrialState.DONE
        return TrialState.CANCELLED if self._ledger.cancel_requested(self._study_id) else TrialState.QUEUED

    def _why_not_all(self) -> str:
        """Of a study that is done, nothing but its budget cancels trials; told by them, as a driver before may have
        done it and died."""
        if not self._ledger.counts(self._study_id)["cancelled"]:
            return ""
        trials = self._ledger.insist(lambda ledger: list(ledger.trials(self._study_id)))
        reasons = {trial.reason for trial in trials if trial.state is TrialState.CANCELLED}
        return next(iter(sorted(reasons)), BUDGET_USED_UP)

    def _reason_to_stop(self) -> str:
        self._heartbeat.check()
        self._stop.keep_listening()
        if self._ledger.hears_cancel(self._study_id):
            return CANCELLED
        return self._place_error or self._stop.reason
