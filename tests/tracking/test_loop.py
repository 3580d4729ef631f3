"""The loop delivers everything once the tracker can be reached, says when it is behind, and stops when told."""

import threading
import time
from collections.abc import Sequence

import pytest
import stamina

from schemas.errors import StaleFence
from workers.tracking.loop import BackgroundPublisher, PublishingState, run_publisher
from workers.tracking.memory_tracker import MemoryTracker
from workers.tracking.names import KEY_TAG
from workers.tracking.port import PublicationRefused, TrackerUnavailable
from workers.tracking.publications import EndStatus, MetricPoint, ParentPublication, StudyPublication, TrialPublication
from workers.tracking.publisher import Publisher

STUDY = StudyPublication(study_id="0123456789", name="warm", spec_json="{}", epoch_ms=1_000)
BATCH_SIZE = 3


def trial(number):
    return TrialPublication(
        key=f"{STUDY.study_id}/{number}",
        name=str(number),
        points=[MetricPoint("loss", 1.0, step, 1_000 + step) for step in range(4)],
        epoch_ms=1_000,
        status=EndStatus.FINISHED,
    )


PARENT = ParentPublication(key=STUDY.study_id, note="linear wins", epoch_ms=1_000, status=EndStatus.FINISHED)


class ListSource:
    """A source in memory: what is neither acknowledged nor refused is offered again."""

    def __init__(self, publications):
        self.publications = publications
        self.acknowledged = {}
        self.refused = {}
        self.reports = []
        self.runs = []

    def study(self):
        return STUDY

    def next_batch(self) -> Sequence[TrialPublication | ParentPublication]:
        left = [entry for entry in self.publications if entry.key not in {*self.acknowledged, *self.refused}]
        return left[:BATCH_SIZE]

    def opened(self, runs):
        self.runs.append(runs)

    def acknowledge(self, acknowledgement):
        self.acknowledged[acknowledgement.key] = acknowledgement

    def refuse(self, key, reason):
        self.refused[key] = reason

    def report(self, state, reason):
        self.reports.append((state, reason))


class Clock:
    """Time that passes only by sleeping and by calling the tracker."""

    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s

    def sleep(self, seconds):
        self.now_s += seconds


@pytest.fixture(autouse=True)
def _no_waiting_between_retries():
    stamina.set_active(False)
    yield
    stamina.set_active(True)


def stopped():
    event = threading.Event()
    event.set()
    return event


def catch_up(source, tracker, clock, **options):
    return run_publisher(source, Publisher(tracker), stopped(), clock=clock, sleep=clock.sleep, **options)


class Slow(MemoryTracker):
    """Every call takes half a second of `clock`."""

    def __init__(self, clock):
        super().__init__()
        self.clock = clock

    def _call(self):
        self.clock.sleep(0.5)
        super()._call()


def test_everything_is_published_and_acknowledged():
    source, tracker = ListSource([*map(trial, range(10)), PARENT]), MemoryTracker()
    assert catch_up(source, tracker, Clock()) is PublishingState.CURRENT
    assert set(source.acknowledged) == {entry.key for entry in source.publications}
    assert {run.status for run in tracker.runs.values()} == {"FINISHED"}
    assert source.reports == [(PublishingState.CURRENT, "")]


def test_a_tracker_that_is_down_makes_the_study_behind_within_the_drain_time():
    source, tracker, clock = ListSource([trial(0)]), MemoryTracker(), Clock()
    tracker.is_down = True
    assert catch_up(source, tracker, clock) is PublishingState.BEHIND
    assert (clock.now_s, source.acknowledged, source.reports) == (60.0, {}, [(PublishingState.BEHIND, "down")])


def test_a_later_run_catches_up_without_duplicates():
    source, tracker = ListSource([trial(number) for number in range(10)]), MemoryTracker()

    def failing_log(run_id, batch, log=tracker.log):
        if len(source.acknowledged) == 5:
            raise TrackerUnavailable("down in the middle")
        log(run_id, batch)

    tracker.log = failing_log
    assert catch_up(source, tracker, Clock()) is PublishingState.BEHIND
    del tracker.log
    assert catch_up(source, tracker, Clock()) is PublishingState.CURRENT
    assert len(tracker.runs) == 11
    assert all(len(run.points) == 4 for run in tracker.runs.values() if run.name != "warm-01234567")


def test_a_tracker_that_comes_back_makes_the_study_current_again():
    source, tracker, clock = ListSource([trial(0)]), MemoryTracker(), Clock()
    tracker.is_down = True

    def sleep(seconds):
        clock.sleep(seconds)
        tracker.is_down = clock.now_s < 10

    publisher = Publisher(tracker)
    state = run_publisher(source, publisher, stopped(), drain_s=60, clock=clock, sleep=sleep)
    assert [report[0] for report in source.reports] == [PublishingState.BEHIND, PublishingState.CURRENT]
    assert (state, clock.now_s) == (PublishingState.CURRENT, 15.0)  # pauses of 1, 2, 4 and 8 s


def test_a_slow_tracker_is_left_when_the_drain_time_is_over():
    source, clock = ListSource([trial(number) for number in range(1_000)]), Clock()
    assert catch_up(source, Slow(clock), clock, drain_s=30.0) is PublishingState.BEHIND
    assert 30.0 <= clock.now_s <= 32.0
    assert len(source.acknowledged) == pytest.approx(19, abs=1)  # three calls of 0.5 s each, three more for the study


def test_catching_up_goes_on_while_a_slow_tracker_takes_something():
    source, clock = ListSource([trial(number) for number in range(100)]), Clock()
    assert catch_up(source, Slow(clock), clock, drain_s=30.0, while_it_moves=True) is PublishingState.CURRENT
    assert clock.now_s > 150


def test_catching_up_ends_when_the_tracker_takes_nothing_any_more():
    source, clock = ListSource([trial(number) for number in range(100)]), Clock()
    tracker = Slow(clock)

    def failing_log(run_id, batch, log=tracker.log):
        if len(source.acknowledged) == 50:
            raise TrackerUnavailable("down")
        log(run_id, batch)

    tracker.log = failing_log
    assert catch_up(source, tracker, clock, drain_s=30.0, while_it_moves=True) is PublishingState.BEHIND
    assert 105 <= clock.now_s <= 115


def test_what_the_tracker_refuses_is_set_aside_and_the_rest_goes_on():
    source, tracker = ListSource([trial(number) for number in range(5)]), MemoryTracker()

    def refusing_log(run_id, batch, log=tracker.log):
        if tracker.runs[run_id].name == "1":
            raise PublicationRefused("no")
        log(run_id, batch)

    tracker.log = refusing_log
    assert catch_up(source, tracker, Clock()) is PublishingState.CURRENT
    assert (source.refused, len(source.acknowledged)) == ({trial(1).key: "no"}, 4)


def test_one_publication_on_which_the_tracker_fails_does_not_hold_up_the_others():
    source, tracker = ListSource([trial(number) for number in range(20)]), MemoryTracker()

    def failing_log(run_id, batch, log=tracker.log):
        if tracker.runs[run_id].name == "0":
            raise TrackerUnavailable("internal error")
        log(run_id, batch)

    tracker.log = failing_log
    assert catch_up(source, tracker, Clock(), drain_s=60.0) is PublishingState.BEHIND
    assert set(source.acknowledged) == {trial(number).key for number in range(1, 20)}


def test_a_deleted_experiment_makes_the_study_behind_until_a_person_restores_it():
    source, tracker = ListSource([trial(0)]), MemoryTracker()

    def deleted(name, tags):
        raise PublicationRefused("was deleted")

    tracker.find_or_create_experiment = deleted
    assert catch_up(source, tracker, Clock()) is PublishingState.BEHIND
    assert (source.reports, source.refused) == ([(PublishingState.BEHIND, "was deleted")], {})


def test_short_trouble_is_retried_at_once():
    stamina.set_active(True)
    with stamina.set_testing(True, attempts=3):
        source, tracker = ListSource([trial(0)]), MemoryTracker()
        failures = iter([True, True])

        def log(run_id, batch, log=tracker.log):
            if next(failures, False):
                raise TrackerUnavailable("blip")
            log(run_id, batch)

        tracker.log = log
        catch_up(source, tracker, Clock())
    assert source.reports == [(PublishingState.CURRENT, "")]


def test_a_new_store_is_announced_so_that_old_acknowledgements_can_be_dropped():
    source, tracker = ListSource([]), MemoryTracker()
    catch_up(source, tracker, Clock())
    catch_up(source, tracker, Clock())
    assert [runs.created for runs in source.runs] == [True, False]


def test_in_the_background_publications_are_delivered_while_the_owner_works():
    source, tracker = ListSource([trial(number) for number in range(4)]), MemoryTracker()
    publisher = BackgroundPublisher(source, Publisher(tracker), poll_s=0.01)
    assert publisher.stop() is PublishingState.CURRENT
    assert len(source.acknowledged) == 4


def test_a_tracker_that_never_answers_holds_up_nobody():
    hangs = threading.Event()

    class Hanging(MemoryTracker):
        def _call(self):
            hangs.wait()

    publisher = BackgroundPublisher(ListSource([trial(0)]), Publisher(Hanging()), drain_s=0.05)
    begun_s = time.monotonic()
    assert publisher.stop(grace_s=0.05) is PublishingState.BEHIND
    assert time.monotonic() - begun_s < 1
    hangs.set()


def test_an_owner_that_was_replaced_is_told_when_it_stops():
    class Replaced(ListSource):
        def acknowledge(self, acknowledgement):
            raise StaleFence("attempt 1 was replaced by 2")

    publisher = BackgroundPublisher(Replaced([trial(0)]), Publisher(MemoryTracker()))
    with pytest.raises(StaleFence):
        publisher.stop()


class ForgetfulSource(ListSource):
    """Forgets what was acknowledged where the store is new, as the ledger's does."""

    def opened(self, runs):
        super().opened(runs)
        if runs.created:
            self.acknowledged.clear()


@pytest.mark.parametrize("at", [1, 5, 9])
def test_a_tracker_that_is_wiped_meanwhile_gets_everything_again_once(at):
    source, tracker, wiped = ForgetfulSource([*map(trial, range(10)), PARENT]), MemoryTracker(), []
    log = tracker.log

    def log_until_it_is_wiped(run_id, batch):
        if len(source.acknowledged) == at and not wiped:
            wiped.append(dict(tracker.runs))
            tracker.runs.clear()
            tracker.experiments.clear()
        log(run_id, batch)

    tracker.log = log_until_it_is_wiped
    assert catch_up(source, tracker, Clock()) is PublishingState.CURRENT
    assert len(wiped[0]) >= at
    keys = [run.tags[KEY_TAG] for run in tracker.runs.values()]
    assert sorted(keys) == sorted(entry.key for entry in source.publications)
    assert {len(run.points) for run in tracker.runs.values() if run.tags[KEY_TAG] != STUDY.study_id} == {4}
    assert source.refused == {}
