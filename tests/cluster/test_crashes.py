"""Killed at every write, in it and around it: the bits of an undisturbed run, no row twice, none missing, no leftovers.

And a trainer that lives on after it was given up. The last tests break what prevents harm, one thing at a time, and see
that the tests before would have failed: a proof that they can.
"""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from schemas.errors import StaleFence
from schemas.study import parse_study
from schemas.trials import TrialState
from tests.cluster.conftest import House, KilledError
from tests.e2e.specs import analytic
from workers.cluster import driver as driver_module
from workers.cluster import pack_runner
from workers.cluster.heartbeat import Heartbeat
from workers.cluster.orders import PackOrder, Progress
from workers.cluster.pack_runner import PackRunner
from workers.cluster.planning import StudyTrials, datasets_of, pack_task
from workers.ledger.inputs import PackProgress
from workers.ledger.ledger import Ledger
from workers.ledger.store import StudyWrite
from workers.records import PackWriter, SegmentRef, checkpoints
from workers.records.places import LocalPlace
from workers.results.verifying import check_records

pytestmark = pytest.mark.slow  # every test trains

EVERY = 7
"""One write in so many kills: enough of them get through in between to come further."""
WAYS = ("before it", "in it", "after it")


@pytest.fixture
def house(make_house, monkeypatch: pytest.MonkeyPatch) -> House:
    return _house(make_house, monkeypatch, "home")


PEACE: dict[str, Any] = {}
"""What `undisturbed` gives: the same for every test, and so made once."""


@pytest.fixture
def undisturbed(make_house, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    if not PEACE:
        house = _house(make_house, monkeypatch, "undisturbed")
        house.finish()
        PEACE.update(house.rows())
    return PEACE


def _house(make_house, monkeypatch: pytest.MonkeyPatch, name: str) -> House:
    monkeypatch.setattr("workers.planning.packs.CHECKPOINT_S", 0.0)  # a checkpoint after every chunk
    monkeypatch.setattr(driver_module, "MAX_DEATHS", 10**9)
    return make_house(name, document=analytic(40))


class HalfSeenError(BaseException):
    """A file has a name and is not whole. No Exception: a trainer would report it as an error of its pack."""


def check(house: House, undisturbed: dict[str, Any]) -> None:
    assert house.rows() == undisturbed
    assert check_records(house.ledger, house.study.id, house.places).findings == []
    named = {row["name"] for rows in house.ledger.manifests(house.study.id).values() for row in rows}
    root = Path(house.places.records)
    assert {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()} == named


def check_visible(root: Path) -> None:
    """Whatever has a name is whole, whoever wrote it and whenever it was killed."""
    for path in root.rglob("*"):
        if path.is_file() and not path.name.startswith("."):
            if path.suffix == ".npz":
                checkpoints.decode(path.read_bytes())
            elif path.suffix == ".parquet":
                pq.ParquetFile(path).read()


def kill_at_writes(monkeypatch: pytest.MonkeyPatch, first: int, met: set[tuple[str, str]]) -> None:
    """Every EVERY-th write kills, in one way after another. `met`: takes up the ways, and what was written."""
    put_new, num_writes = LocalPlace.put_new, [0]

    def put(self: LocalPlace, name: str, data: bytes) -> None:
        num_writes[0] += 1
        number, left = divmod(num_writes[0] - first, EVERY)
        if left or number < 0 or not name.startswith("packs/"):
            return put_new(self, name, data)
        way = WAYS[number % len(WAYS)]
        if way == "in it":
            _write_half(self, name, data)
        elif way == "after it":
            put_new(self, name, data)
        met.add((way, "checkpoint" if name.endswith(".npz") else "compaction" if "compact" in name else "record"))
        try:
            check_visible(Path(self.root))
        except Exception as error:
            raise HalfSeenError from error
        raise KilledError(f"killed at a write, {way}")

    monkeypatch.setattr(LocalPlace, "put_new", put)


def _write_half(place: LocalPlace, name: str, data: bytes) -> None:
    """What a process leaves that is killed while it writes: half of a file that has no name yet."""
    path = Path(place.root) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_name(f".{path.name}.0.tmp").write_bytes(data[: len(data) // 2])


def test_trainers_killed_at_every_write_cost_no_bit(make_house, monkeypatch: pytest.MonkeyPatch, undisturbed) -> None:
    met: set[tuple[str, str]] = set()
    for first in range(1, EVERY + 1):
        house = _house(make_house, monkeypatch, f"home {first}")
        with monkeypatch.context() as patched:
            kill_at_writes(patched, first, met)
            house.finish(workers=1)
        check(house, undisturbed)
    assert {what for _, what in met} == {"checkpoint", "record", "compaction"}
    assert {way for way, _ in met} == set(WAYS)


@pytest.mark.parametrize("way", ["before it", "after it"])
@pytest.mark.parametrize("write", ["write_plan", "start_packs", "record_progress", "commit_receipts"])
def test_a_driver_killed_at_a_write_to_the_ledger_costs_no_bit(
    house: House, monkeypatch: pytest.MonkeyPatch, undisturbed, write: str, way: str
) -> None:
    ask, num_calls = getattr(Ledger, write), [0]

    def killed_at_the_second(self: Ledger, *args: Any, **kwargs: Any) -> Any:
        num_calls[0] += 1
        is_last = num_calls[0] == (1 if write == "write_plan" else 2)
        if is_last and way == "before it":
            raise KilledError("the driver")
        answer = ask(self, *args, **kwargs)
        if is_last:
            raise KilledError("the driver")
        return answer

    monkeypatch.setattr(Ledger, write, killed_at_the_second)
    with pytest.raises(KilledError):
        house.drive(workers=1)
    house.finish(workers=1)
    check(house, undisturbed)


def overtaken(house: House, undisturbed: dict[str, Any]) -> None:
    """A driver and its trainer that live on: they write, and try to commit, when another driver has the study.

    What they compute from then on is another number, as on another machine, or it could not be told from ours.
    """
    old = Heartbeat.acquire(house.ledger, house.study.id)
    assert old is not None
    with suppress(KilledError):
        _plan_only(house, old)
    trials = StudyTrials(parse_study(house.study.spec), datasets_of(house.ledger))
    first = house.ledger.packs(house.study.id)[0]
    (pack,) = house.ledger.start_packs(house.study.id, [first.pack_id], old.fence)
    zombie = PackRunner(house.places.records, None)
    progress = zombie.advance(PackOrder(pack_task(pack, trials, "cpu"), pack.attempt, [], None), 0.0)
    commit(house, progress, old.fence)
    # Its lease has run out. Nothing is queued again yet when it wakes up.
    old._release()
    new = Heartbeat.acquire(house.ledger, house.study.id)
    assert new is not None
    strange = strangely(lambda: zombie.advance(None, 0.0))
    with suppress(StaleFence):
        commit(house, strange, old.fence)
    new._release()
    for _ in range(2):
        strangely(lambda: zombie.advance(None, 0.0))
    house.finish(workers=1)
    assert house.rows() == undisturbed


def _plan_only(house: House, heartbeat: Heartbeat) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Heartbeat, "acquire", lambda *_: heartbeat)
        patched.setattr(Heartbeat, "__enter__", lambda self: self)
        patched.setattr(Heartbeat, "__exit__", lambda self, *_: None)

        def killed(*_: Any, **__: Any) -> None:
            raise KilledError("the driver")

        patched.setattr(Ledger, "start_packs", killed)
        house.drive(workers=1)


def commit(house: House, progress: Progress, fence: int) -> None:
    house.ledger.record_progress(
        house.study.id,
        fence,
        [PackProgress(progress.pack_id, progress.attempt, progress.manifest, progress.checkpoint, progress.step)],
    )


def strangely(turn: Callable[[], Progress]) -> Progress:
    write = PackWriter.write

    def other_numbers(self: PackWriter, first_step: int, last_step: int, chunk: Any) -> Any:
        steps = dict(chunk["steps"])
        steps["train_loss"] = steps["train_loss"] + 1.0
        return write(self, first_step, last_step, {**chunk, "steps": steps})

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(PackWriter, "write", other_numbers)
        return turn()


def test_a_trainer_and_a_driver_that_live_on_add_no_row(house: House, undisturbed) -> None:
    overtaken(house, undisturbed)
    assert check_records(house.ledger, house.study.id, house.places).findings == []


def test_without_the_fence_they_would(house: House, monkeypatch: pytest.MonkeyPatch, undisturbed) -> None:
    init = StudyWrite.__init__
    monkeypatch.setattr(
        StudyWrite, "__init__", lambda self, connection, study_id, fence: init(self, connection, study_id, None)
    )
    with pytest.raises(AssertionError):
        overtaken(house, undisturbed)


def test_without_the_rename_half_a_file_would_be_seen(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def in_place(place: LocalPlace, name: str, data: bytes) -> None:
        path = Path(place.root) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data[: len(data) // 2])

    monkeypatch.setitem(kill_at_writes.__globals__, "_write_half", in_place)
    kill_at_writes(monkeypatch, 2, set())
    with pytest.raises(HalfSeenError):
        house.drive(workers=1)


def test_without_the_rule_of_segments_rows_would_be_there_twice(
    house: House, monkeypatch: pytest.MonkeyPatch, undisturbed
) -> None:
    def all_that_lies_there(manifest: Any, checkpoint: Any) -> tuple[SegmentRef, ...]:
        return tuple(manifest)

    monkeypatch.setattr("workers.planning.packs.CHECKPOINT_S", 1e-9 + 20.0)  # seldom: segments follow a checkpoint
    monkeypatch.setattr(pack_runner, "up_to", all_that_lies_there)
    trials = _saved_and_gone_on(house)
    assert trials
    house.finish(workers=1)
    with pytest.raises(AssertionError):
        check(house, undisturbed)


def _saved_and_gone_on(house: House) -> bool:
    """Leave a pack whose newest segments are younger than its checkpoint."""
    heartbeat = Heartbeat.acquire(house.ledger, house.study.id)
    assert heartbeat is not None
    with suppress(KilledError):
        _plan_only(house, heartbeat)
    trials = StudyTrials(parse_study(house.study.spec), datasets_of(house.ledger))
    first = house.ledger.packs(house.study.id)[0]
    (pack,) = house.ledger.start_packs(house.study.id, [first.pack_id], heartbeat.fence)
    runner = PackRunner(house.places.records, None)
    runner.advance(PackOrder(pack_task(pack, trials, "cpu"), pack.attempt, [], None), 0.0, save=True)
    progress = runner.advance(None, 0.0)
    commit(house, progress, heartbeat.fence)
    heartbeat._release()
    return progress.step > (progress.checkpoint or {"step": progress.step})["step"]


def test_with_the_rule_of_segments_they_are_not(house: House, monkeypatch: pytest.MonkeyPatch, undisturbed) -> None:
    monkeypatch.setattr("workers.planning.packs.CHECKPOINT_S", 20.0)
    assert _saved_and_gone_on(house)
    house.finish(workers=1)
    check(house, undisturbed)
    assert house.ledger.study(house.study.id).state is TrialState.DONE
