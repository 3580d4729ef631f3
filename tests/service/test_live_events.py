"""One poller for all listeners: everyone hears everything once, in order; an idle or slow one costs next to nothing."""

import asyncio
import threading
import time
from contextlib import aclosing

import pytest

from schemas.errors import PlaceError
from service import live
from service.live import LiveEvents
from service.routes.events import Listening, _stream
from tests.ledger.making import new_study
from tests.service.event_storm import commit, finish
from workers.ledger.ledger import Ledger
from workers.ledger.rows import EventKind

POLL_S = 0.01


class CountingLedger(Ledger):
    """Counts what is read, and fails while it is told to."""

    standings_read = 0
    events_read = 0
    fails = False
    meanwhile = None
    """What another process does between the poller's two reads, once."""

    def standings(self, study_ids):
        self.standings_read += 1
        if self.fails:
            raise PlaceError("the server is away")
        found = super().standings(study_ids)
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        return found

    def events(self, study_id, after=0, limit=1_000):
        self.events_read += 1
        return super().events(study_id, after, limit)


@pytest.fixture
def ledger(tmp_path):
    with CountingLedger.open(tmp_path) as opened:
        yield opened


@pytest.fixture
def study_id(ledger):
    return new_study(ledger).id


def running(test):
    """Run an async test: a LiveEvents of the test's ledger is closed at its end, and nothing may take long."""

    async def with_live(ledger, study_id):
        events = LiveEvents(ledger, poll_s=POLL_S)
        try:
            async with asyncio.timeout(120):
                await test(events, ledger, study_id)
        finally:
            await events.close()

    def run(ledger, study_id):
        asyncio.run(with_live(ledger, study_id))

    run.__name__ = test.__name__
    return run


async def heard(events, study_id, after=0, **more):
    return [event.seq async for event in events.follow(study_id, after, **more) if event is not None]


async def until(condition):
    while not condition():
        await asyncio.sleep(0.005)


@running
async def test_a_listener_hears_what_was_and_what_comes_and_the_stream_ends_with_the_study(events, ledger, study_id):
    commit(ledger, study_id, 5)
    listener = asyncio.create_task(heard(events, study_id))
    await until(lambda: events.num_listeners)
    commit(ledger, study_id, 5)
    await asyncio.sleep(5 * POLL_S)
    assert not listener.done()
    finish(ledger, study_id)
    last = ledger.last_event_seq(study_id)
    assert await listener == list(range(1, last + 1))


@running
async def test_a_final_study_is_told_from_any_number_on(events, ledger, study_id):
    commit(ledger, study_id, 20)
    finish(ledger, study_id)
    last = ledger.last_event_seq(study_id)
    for after in (0, 7, last - 1, last, last + 5):
        assert await heard(events, study_id, after) == list(range(after + 1, last + 1))


@running
async def test_a_study_that_goes_on_after_its_end_is_told_on(events, ledger, study_id):
    finish(ledger, study_id)
    ledger.continue_study(study_id)
    listener = asyncio.create_task(heard(events, study_id))
    await asyncio.sleep(5 * POLL_S)
    assert not listener.done()
    finish(ledger, study_id)
    assert await listener == list(range(1, ledger.last_event_seq(study_id) + 1))


@running
async def test_a_study_that_goes_on_between_the_pollers_two_reads_is_told_on(events, ledger, study_id):
    went_on = asyncio.Event()
    loop = asyncio.get_running_loop()

    def go_on():
        ledger.continue_study(study_id)
        loop.call_soon_threadsafe(went_on.set)

    listener = asyncio.create_task(heard(events, study_id))
    await until(lambda: study_id in events._watched and events._watched[study_id].seq)
    ledger.meanwhile = lambda: (finish(ledger, study_id), setattr(ledger, "meanwhile", go_on))
    await went_on.wait()
    await until(lambda: events._watched[study_id].seq == ledger.last_event_seq(study_id))
    await asyncio.sleep(5 * POLL_S)
    assert not listener.done()
    finish(ledger, study_id)
    assert await listener == list(range(1, ledger.last_event_seq(study_id) + 1))


@running
async def test_a_stream_that_always_has_something_to_send_lets_others_have_their_turn(events, ledger, study_id):
    keeper = asyncio.create_task(heard(events, study_id))
    await until(lambda: study_id in events._watched and events._watched[study_id].seq)
    commit(ledger, study_id, 300)
    await until(lambda: len(events._watched[study_id].tail) == 300)
    turns, sent = 0, 0

    async def others():
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(others())
    async with aclosing(_stream(events, Listening(study_id, 1, False), live._always)) as stream:
        async for _ in stream:
            sent += 1
            if sent == 300:
                break
    other.cancel()
    keeper.cancel()
    await asyncio.wait([other, keeper])
    assert turns >= 290


@running
async def test_a_number_that_is_not_reached_yet_is_waited_for(events, ledger, study_id):
    last = ledger.last_event_seq(study_id)
    listener = asyncio.create_task(heard(events, study_id, last + 3))
    await until(lambda: events.num_listeners)
    commit(ledger, study_id, 6)
    finish(ledger, study_id)
    assert (await listener)[0] == last + 4


@running
async def test_many_listeners_cost_one_query_a_poll_and_one_read_of_what_is_new(events, ledger, study_id):
    start = ledger.last_event_seq(study_id)
    other = new_study(ledger, name="other").id
    listeners = [asyncio.create_task(heard(events, one, start)) for one in (study_id, other) for _ in range(50)]
    await until(lambda: events.num_listeners == 100)
    await asyncio.sleep(3 * POLL_S)
    before, reads, began = ledger.standings_read, ledger.events_read, time.monotonic()
    commit(ledger, study_id, 40)
    await asyncio.sleep(20 * POLL_S)
    most = (time.monotonic() - began) / POLL_S + 1  # a busy machine makes it sleep for longer
    assert ledger.standings_read - before <= most
    commits_seen = ledger.events_read - reads
    assert 1 <= commits_seen <= most
    finish(ledger, study_id)
    finish(ledger, other)
    told = await asyncio.gather(*listeners)
    assert all(one == told[0] for one in told[:50])
    assert ledger.events_read - reads <= commits_seen + 4


@running
async def test_idle_listeners_take_no_thread_and_no_connection(events, ledger, study_id):
    threads = threading.active_count()
    listeners = [asyncio.create_task(heard(events, study_id)) for _ in range(300)]
    await until(lambda: events.num_listeners == 300)
    await asyncio.sleep(5 * POLL_S)
    assert threading.active_count() - threads <= live.CATCHING_UP + 1
    assert ledger.engine.pool.checkedout() <= live.CATCHING_UP + 1
    finish(ledger, study_id)
    await asyncio.gather(*listeners)


@running
async def test_a_slow_listener_misses_nothing_and_nothing_is_kept_for_it(events, ledger, study_id):
    seen = []
    async with aclosing(events.follow(study_id)) as stream:
        seen.append((await anext(stream)).seq)
        for _ in range(3):  # the poller goes on while this listener does not
            commit(ledger, study_id, live.TAIL_EVENTS)
            await until(lambda: events._watched[study_id].seq == ledger.last_event_seq(study_id))
        assert len(events._watched[study_id].tail) == live.TAIL_EVENTS
        finish(ledger, study_id)
        async for event in stream:
            seen.append(event.seq)
    assert seen == list(range(1, ledger.last_event_seq(study_id) + 1))


@running
async def test_the_poller_rests_when_the_last_listener_leaves_and_comes_back_with_the_next(events, ledger, study_id):
    async with aclosing(events.follow(study_id)) as stream:
        await anext(stream)
        assert events.num_listeners == 1
    assert events.num_listeners == 0
    await until(lambda: events._poller.done())
    finish(ledger, study_id)
    assert (await heard(events, study_id))[-1] == ledger.last_event_seq(study_id)


@running
async def test_a_listener_that_is_cancelled_is_forgotten(events, ledger, study_id):
    listener = asyncio.create_task(heard(events, study_id))
    await until(lambda: events.num_listeners)
    listener.cancel()
    await asyncio.wait([listener])
    assert events.num_listeners == 0


def test_listeners_outlive_a_ledger_that_is_away_for_a_while(ledger, study_id, monkeypatch):
    monkeypatch.setattr(live, "RETRY_S", 0.02)

    @running
    async def listen(events, ledger, study_id):
        listener = asyncio.create_task(heard(events, study_id))
        await until(lambda: events.num_listeners)
        ledger.fails = True
        commit(ledger, study_id, 3)
        finish(ledger, study_id)
        await asyncio.sleep(0.1)
        assert not listener.done()
        ledger.fails = False
        assert await listener == list(range(1, ledger.last_event_seq(study_id) + 1))

    listen(ledger, study_id)


@running
async def test_a_stream_ends_after_a_while_and_can_be_taken_up(events, ledger, study_id):
    first = await heard(events, study_id, max_s=0.1)
    commit(ledger, study_id, 4)
    finish(ledger, study_id)
    second = await heard(events, study_id, first[-1])
    assert first + second == list(range(1, ledger.last_event_seq(study_id) + 1))


@running
async def test_closing_ends_every_stream(events, ledger, study_id):
    listeners = [asyncio.create_task(heard(events, study_id)) for _ in range(3)]
    await until(lambda: events.num_listeners == 3)
    await events.close()
    await asyncio.gather(*listeners)
    assert events.num_listeners == 0


@running
async def test_a_study_that_is_not_there_has_a_stream_that_ends(events, ledger, study_id):
    assert await heard(events, "0" * 16) == []


@running
async def test_every_listener_hears_the_whole_storm_while_others_come_and_go(events, ledger, study_id):
    async def hopping():
        seen = []
        while not seen or seen[-1] != EventKind.STUDY_CANCELLED:
            async with aclosing(events.follow(study_id, len(seen))) as stream:
                async for event in stream:
                    assert event.seq == len(seen) + 1
                    seen.append(event.kind)
                    if event.seq % 37 == 0:
                        break
        return len(seen)

    writer = threading.Thread(target=lambda: (commit(ledger, study_id, 1_000), finish(ledger, study_id)))
    writer.start()
    hoppers = [asyncio.create_task(hopping()) for _ in range(10)]
    stayers = [asyncio.create_task(heard(events, study_id)) for _ in range(10)]
    numbers = await asyncio.gather(*hoppers)
    told = await asyncio.gather(*stayers)
    writer.join()
    last = ledger.last_event_seq(study_id)
    assert numbers == [last] * 10
    assert all(one == list(range(1, last + 1)) for one in told)
