"""Brings what should run and what does run together: queue, launches, adoption, relaunches, cancels. Asks no Ray.

Everything that matters is in the ledger, so any number of controllers may share one, and each may die at any time. A
study is launched under its `launch` lease and runs under the `run` lease of its driver; see workers.ledger.leases.
"""

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from schemas.errors import PlaceError
from schemas.trials import TrialState
from service.catching_up import CatchingUp
from service.endings import JOB_GONE, NOT_STARTED, Ending
from service.launched import LaunchedDriver, Launcher, LauncherAway
from service.retrying import Patience, Troubles
from service.waiting import Waiting
from workers.holders import has_ended, lease_owner
from workers.launcher import EXIT_NOT_MINE, RUN_LEASE_S
from workers.ledger.ledger import Ledger
from workers.ledger.rows import EventKind, LeaseRow

log = structlog.get_logger("warmup_bench.controller")

PROGRESS = frozenset({EventKind.PACK_PROGRESS, EventKind.PACK_DONE, EventKind.TRIAL_DONE, EventKind.TRIAL_ERRORED})


@dataclass(frozen=True)
class ControllerSettings:
    """Limits and times (s)."""

    max_running: int = 2
    """Studies under way at a time, over all controllers of the ledger."""
    patience: Patience = field(default_factory=Patience)
    """With launches that bring a study no further."""
    poll_s: float = 0.5
    launch_s: float = 20.0
    """The launch lease: so long after a controller's death another one launches the study."""
    start_s: float = 120.0
    """So long a driver may take to its own lease, on a machine however busy."""
    lease_s: float = RUN_LEASE_S
    cancel_s: float = 8.0
    """A driver that has not obeyed a cancel by then is killed."""
    stop_s: float = 30.0
    away_s: float = 5.0
    """Between two tries to launch while nothing can be launched."""
    no_room_s: float = 60.0
    """Before a study is launched again for whose driver there was no room."""


@dataclass
class _Driven:
    """A driver that is minded here."""

    driver: LaunchedDriver
    seq: int
    """The study's last event when it was launched."""
    since: float
    unwanted_since: float | None = None
    let_go_since: float | None = None
    """Since when its study is queued and free, so that nothing but its process is left of it."""


class Controller:
    """One reconciler. `run_once` may be called as often as one likes; nothing but `stop_soon` from another thread."""

    def __init__(
        self,
        ledger: Ledger,
        launcher: Launcher,
        settings: ControllerSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
        on_round: Callable[[], None] = lambda: None,
    ) -> None:
        self._ledger, self._launcher, self._settings, self._clock = ledger, launcher, settings, clock
        self._on_round = on_round
        self.owner = lease_owner()
        self._driven: dict[str, _Driven] = {}
        self._troubles = Troubles(settings.patience, clock)
        self._catching_up = CatchingUp(ledger, launcher.publish, self.owner, clock)
        self._waiting = Waiting(ledger, clock)
        self._launches_from = clock()
        self._foreign: set[tuple[str, str]] = set()
        self._is_begun = False
        self._stopping = threading.Event()
        # A ledger that was out of reach has let every lease run out: nobody takes over until drivers could renew.
        self._claims_from = clock()
        self._takes_over_from = clock() + settings.lease_s
        self._is_out_of_reach = False

    @property
    def num_drivers(self) -> int:
        """Drivers that are minded here."""
        return len(self._driven)

    def run(self) -> None:
        """Until `stop_soon`; then the drivers are stopped, and their studies wait for the next controller."""
        while not self._stopping.wait(self._settings.poll_s):
            self._try_once()
            self._on_round()
        self.stop()

    def stop_soon(self) -> None:
        """Let `run` come to its end."""
        self._stopping.set()

    def _try_once(self) -> None:
        try:
            self.run_once()
        except PlaceError as error:
            log.error("the ledger is out of reach; what runs goes on", error=str(error))
        except Exception:
            log.exception("a round of the controller failed; the next one tries again")

    def run_once(self) -> None:
        """One round.

        Raises:
            PlaceError: the ledger is out of reach.
        """
        try:
            self._round()
        except PlaceError:
            self._is_out_of_reach = True
            raise

    def _round(self) -> None:
        held = self._held()
        if not self._is_begun:
            self._launcher.begin(held)
            self._is_begun = True
        self._adopt(held)
        self._reap()
        self._mind_launches(held)
        self._mind_cancels()
        self._mind_ends(held)
        self._settle()
        self._launch()
        self._catching_up.once(self._has_room)
        if not self._driven:
            self._launcher.rest()

    def stop(self) -> None:
        """Leave every driver to whoever comes next: running, where it outlives us, else saved and its study queued."""
        try:
            if not self._launcher.outlived:
                self._stop_drivers()
            self._driven.clear()
            self._held()  # frees our launch leases
        except PlaceError as error:
            log.error("the ledger is out of reach", error=str(error))
        self._driven.clear()
        self._launcher.stop()
        with contextlib.suppress(PlaceError):  # then it runs out by itself
            self._catching_up.stop()

    def _stop_drivers(self) -> None:
        """Ask every driver to save and to end, kill what does not; queue their studies."""
        for driven in self._driven.values():
            driven.driver.ask_to_stop()
        deadline = self._clock() + self._settings.stop_s
        while self._clock() < deadline and any(each.driver.poll() is None for each in self._driven.values()):
            time.sleep(0.05)
        for study_id, driven in self._driven.items():
            if driven.driver.poll() is None:
                log.warning("the driver did not stop in time: killed", study_id=study_id)
                driven.driver.kill()
        self._held()
        for study_id in self._driven:
            self._ledger.settle_abandoned(study_id, TrialState.QUEUED, "the service was stopped")

    def _held(self) -> list[LeaseRow]:
        """The leases that are fresh, but for those of processes here that have ended, which are freed."""
        leases = self._ledger.held_leases()
        if self._is_out_of_reach:
            self._is_out_of_reach = False
            self._claims_from = self._takes_over_from = self._clock() + self._settings.lease_s
            log.info("the ledger is back", takes_over_in_s=self._settings.lease_s)
        dead = [lease for lease in leases if has_ended(lease.owner) or self._is_done_launching(lease)]
        for lease in dead:
            self._ledger.release_lease(lease.study_id, lease.kind, lease.owner, lease.fence)  # type: ignore[arg-type]
        return [lease for lease in leases if lease not in dead]

    def _is_done_launching(self, lease: LeaseRow) -> bool:
        if (lease.kind, lease.owner) != ("launch", self.owner):
            return False
        driven = self._driven.get(lease.study_id)
        return driven is None or driven.driver.poll() is not None

    def _adopt(self, held: list[LeaseRow]) -> None:
        for lease in held:
            known = lease.study_id in self._driven or (lease.study_id, lease.owner) in self._foreign
            if lease.kind != "run" or known:
                continue
            try:
                driver = self._launcher.adopt(lease)
            except LauncherAway:
                continue  # it is asked again
            if driver is None:
                self._foreign.add((lease.study_id, lease.owner))
            else:
                log.info("adopted a driver", study_id=lease.study_id, driver=lease.owner)
                self._mind(lease.study_id, driver)
        self._foreign &= {(lease.study_id, lease.owner) for lease in held}

    def _mind(self, study_id: str, driver: LaunchedDriver) -> None:
        self._driven[study_id] = _Driven(driver, self._ledger.last_event_seq(study_id), self._clock())

    def _reap(self) -> None:
        for study_id, driven in list(self._driven.items()):
            status = driven.driver.poll()
            if status is None:
                continue
            del self._driven[study_id]
            log.info("a driver has ended", study_id=study_id, status=status)
            head = self._ledger.study_head(study_id)
            if head.state.is_final:
                self._troubles.forget(study_id)
                if head.publishing != "current":  # its driver has waited for the tracker as long as it may
                    log.warning("publishing is behind; it goes on", study_id=study_id)
                    self._catching_up.add(study_id)
            elif status == NOT_STARTED:
                self._note_no_room(study_id)
            elif status == JOB_GONE:  # which is no failure; its run lease says whether it lives
                self._troubles.postpone(study_id, self._settings.away_s)
            elif status != EXIT_NOT_MINE and not head.cancel_requested:
                self._note_failure(study_id, driven.seq, Ending.of(status, driven.driver.log))

    def _note_no_room(self, study_id: str) -> None:
        log.warning("the cluster had no room for a driver; it is launched again", study_id=study_id)
        self._troubles.postpone(study_id, self._settings.no_room_s)
        self._held()  # frees our launch lease
        reason = f"the cluster had no room for its driver within {self._settings.start_s:.0f} s; it is tried again"
        self._ledger.explain_waiting(reason, study_id=study_id)

    def _note_failure(self, study_id: str, seq: int, how: Ending) -> None:
        """A launch that did not bring the study to its end: it is tried again, unless that has become hopeless."""
        has_progressed = self._has_progressed(study_id, seq)
        trouble = self._troubles.note(
            study_id, is_fault=how.is_fault, has_progressed=has_progressed, is_place=how.is_place
        )
        if not self._troubles.is_hopeless(trouble):
            wait_s = self._troubles.wait_s(trouble)
            log.warning("the study will be launched again", study_id=study_id, in_s=wait_s, how=how.words)
            if how.is_place and not self._ledger.study_head(study_id).reason:  # its driver could not say it
                self._held()  # frees our launch lease
                self._ledger.explain_waiting(f"{how.words}; it is tried again", study_id=study_id)
            return
        self._held()  # frees what its driver has held
        if self._ledger.settle_abandoned(study_id, TrialState.ERRORED, how.reason(trouble.launches)):
            log.error("gave the study up", study_id=study_id, how=how.words)
            self._catching_up.add(study_id)
        self._troubles.forget(study_id)

    def _has_progressed(self, study_id: str, seq: int) -> bool:
        while events := self._ledger.events(study_id, after=seq):
            if any(event.kind in PROGRESS for event in events):
                return True
            seq = events[-1].seq
        return False

    def _mind_launches(self, held: list[LeaseRow]) -> None:
        """Keep the launch lease while a driver of ours comes up; end one that never does."""
        running = {lease.study_id for lease in held if lease.kind == "run"}
        for lease in held:
            driven = self._driven.get(lease.study_id)
            if lease.kind != "launch" or lease.owner != self.owner or driven is None or lease.study_id in running:
                continue
            if self._clock() - driven.since > self._settings.start_s:
                log.error("the driver does not come up: killed", study_id=lease.study_id)
                driven.driver.kill()
            elif self._ledger.study_head(lease.study_id).state.is_final:  # cancelled: it would wait for room in vain
                driven.driver.kill()
            else:
                self._ledger.renew_lease(lease.study_id, "launch", self.owner, lease.fence, self._settings.launch_s)

    def _mind_cancels(self) -> None:
        """A driver obeys a cancel by itself; one that is stuck is killed."""
        for study_id, driven in self._driven.items():
            head = self._ledger.study_head(study_id)
            is_unwanted = head.cancel_requested and head.counts["queued"] + head.counts["running"] > 0
            if not is_unwanted or head.state.is_final:
                driven.unwanted_since = None
            elif driven.unwanted_since is None:
                driven.unwanted_since = self._clock()
            elif self._clock() - driven.unwanted_since > self._settings.cancel_s:
                log.warning("the driver has not obeyed a cancel: killed", study_id=study_id)
                driven.driver.kill()

    def _mind_ends(self, held: list[LeaseRow]) -> None:
        """A driver that has let go of its study is waited for, as how it ends decides what comes next; not for long."""
        kept = {lease.study_id for lease in held if lease.kind != "publish"}
        for study_id, driven in self._driven.items():
            if study_id in kept or self._ledger.study_head(study_id).state is not TrialState.QUEUED:
                driven.let_go_since = None
            elif driven.let_go_since is None:
                driven.let_go_since = self._clock()
            elif self._clock() - driven.let_go_since > self._settings.stop_s:
                log.warning("the driver has let go of its study and does not end: killed", study_id=study_id)
                driven.driver.kill()

    def _settle(self) -> None:
        """Studies that nobody drives any more: cancelled, where that was asked for, else queued again."""
        for study_id in self._ledger.abandoned():
            if not self._ledger.cancel_requested(study_id):
                if not self._may_take_over(study_id):
                    continue  # its driver may live, and renew its lease by then
                self._ledger.settle_abandoned(study_id, TrialState.QUEUED, "its driver is gone")
            elif self._ledger.settle_abandoned(study_id, TrialState.CANCELLED, "cancelled"):
                log.info("cancelled a study that nobody drove", study_id=study_id)
                self._catching_up.add(study_id)
            else:
                continue
            if study_id in self._driven:  # it lives and has lost its lease: it may hold cores
                self._driven[study_id].driver.kill()

    def _may_take_over(self, study_id: str) -> bool:
        lease = self._ledger.lease(study_id, "run")
        return lease is None or has_ended(lease.owner) or self._clock() >= self._takes_over_from

    def _launch(self) -> None:
        waiting = [*self._troubles.waiting(), *self._driven]
        settings = self._settings
        while self._clock() >= max(self._claims_from, self._launches_from) and not self._stopping.is_set():
            lease = self._ledger.claim(self.owner, settings.launch_s, settings.max_running, passed_over=waiting)
            if lease is None:
                return
            self._start(lease)
            waiting.append(lease.study_id)

    def _has_room(self) -> bool:
        """Whether all that can run now runs, and more could."""
        may_launch = self._clock() >= self._claims_from and not self._stopping.is_set()
        return may_launch and self._ledger.num_running() < self._settings.max_running

    def _start(self, lease: LeaseRow) -> None:
        try:
            driver = self._launcher.start(lease.study_id)
        except LauncherAway as error:
            log.warning("nothing can be launched now; studies wait", error=str(error))
            self._ledger.release_lease(lease.study_id, "launch", lease.owner, lease.fence)
            self._launches_from = self._clock() + self._settings.away_s
            self._waiting.say(error.reason)
            return
        except OSError as error:
            self._ledger.release_lease(lease.study_id, "launch", lease.owner, lease.fence)
            seq = self._ledger.last_event_seq(lease.study_id)
            self._note_failure(lease.study_id, seq, Ending(f"its driver could not be started: {error}", True))
            return
        log.info("launched", study_id=lease.study_id)
        self._waiting.forget()
        self._mind(lease.study_id, driver)
