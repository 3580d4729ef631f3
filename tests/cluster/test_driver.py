"""The driver: stops, deaths, disks that are full, other drivers. Whatever happens, the numbers are the same."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from schemas.errors import CorruptRecord, PlaceError, StaleFence, WrongState
from schemas.trials import TrialState
from tests.cluster import conftest
from tests.cluster.conftest import DeadError, StopAfter
from tests.e2e.commands import table_bytes
from tests.e2e.specs import digits
from workers.cluster.driver import MAX_DEATHS, CannotRun
from workers.cluster.facts import facts_without_trainer
from workers.cluster.pack_runner import PackRunner, _arrays
from workers.cluster.planning import datasets_of
from workers.cluster.ray_processes import RayLost
from workers.ledger.rows import EventKind, PackState
from workers.records import PackWriter, RecordStore, SegmentRef
from workers.results.write import write_tables

pytestmark = pytest.mark.slow  # every test trains


def tables(house, folder: Path) -> dict[str, bytes]:
    folder.mkdir(exist_ok=True)
    write_tables(house.ledger, house.study.id, house.places, folder)
    return table_bytes(folder)


PEACE: dict[str, bytes] = {}
"""What `undisturbed` gives: the same for every test, and so made once."""


@pytest.fixture
def undisturbed(make_house, tmp_path: Path) -> dict[str, bytes]:
    if not PEACE:
        house = make_house("undisturbed")
        house.finish()
        PEACE.update(tables(house, tmp_path / "undisturbed-out"))
    return PEACE


def test_one_trainer_and_two_give_the_same_bytes(make_house, undisturbed, tmp_path: Path) -> None:
    house = make_house()
    house.finish(workers=1)
    assert len(house.trainers) == 1
    assert tables(house, tmp_path / "out") == undisturbed


def once(number: int, error: Exception) -> Callable[[int], Exception | None]:
    """The first trainer that comes to turn `number` fares so."""
    left = [error]
    return lambda turn: left.pop() if turn == number and left else None


def test_a_driver_that_is_asked_to_stop_saves_and_the_next_one_gives_the_same_bits(
    make_house, tmp_path: Path, undisturbed
) -> None:
    house = make_house()
    assert house.drive(stop=StopAfter(3)) is TrialState.QUEUED
    packs = house.ledger.packs(house.study.id)
    assert {pack.state for pack in packs} == {PackState.QUEUED}
    assert all(pack.checkpoint is not None and 0 < pack.step < 40 for pack in packs)
    house.finish()
    assert tables(house, tmp_path / "out") == undisturbed


def test_what_was_saved_at_a_stop_is_not_trained_again(make_house) -> None:
    house = make_house()
    house.drive(stop=StopAfter(3))
    (step,) = {pack.step for pack in house.ledger.packs(house.study.id)}
    house.trainers.clear()
    house.finish()
    assert [trainer.num_turns for trainer in house.trainers] == [(40 - step) // 10] * 2


def test_stopping_before_the_first_pack_writes_no_plan(make_house) -> None:
    house = make_house()
    assert house.drive(stop=StopAfter(0)) is TrialState.QUEUED
    assert not house.ledger.has_plan(house.study.id, 0)
    house.finish()


def test_a_pack_whose_trainer_dies_runs_again_and_the_others_do_not_notice(
    make_house, tmp_path: Path, undisturbed
) -> None:
    house = make_house()
    house.finish(fate=once(3, DeadError("killed by signal 9")))
    packs = house.ledger.packs(house.study.id)
    assert sorted(pack.attempt for pack in packs) == [1, 2]
    assert tables(house, tmp_path / "out") == undisturbed


def test_what_a_dead_attempt_left_is_swept(make_house) -> None:
    house = make_house()
    house.finish(fate=once(3, DeadError("killed by signal 9")))
    manifests = house.ledger.manifests(house.study.id).values()
    named = {segment["name"] for manifest in manifests for segment in manifest}
    root = Path(house.places.records)
    assert {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()} == named


def damaged_after_a_stop(house, damage: Callable[[Path], object], kind: str) -> None:
    """Stop the study with open packs, and damage one file of each: its checkpoint, or a segment."""
    house.drive(stop=StopAfter(3))
    for pack in house.ledger.packs(house.study.id):
        name = pack.checkpoint["name"] if kind == "checkpoint" else pack.manifest[0]["name"]
        damage(Path(house.places.records) / name)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize(
    ("kind", "damage"),
    [
        ("checkpoint", truncated),
        ("segment", Path.unlink),
        pytest.param("checkpoint", Path.unlink, marks=pytest.mark.proof),
        pytest.param("segment", truncated, marks=pytest.mark.proof),
    ],
)
def test_a_pack_whose_records_are_damaged_begins_again_by_itself(
    make_house, tmp_path: Path, undisturbed, damage: Callable[[Path], object], kind: str
) -> None:
    house = make_house()
    damaged_after_a_stop(house, damage, kind)
    house.finish()
    assert tables(house, tmp_path / "out") == undisturbed
    assert {pack.attempt for pack in house.ledger.packs(house.study.id)} == {3}
    events = house.ledger.events(house.study.id)
    reasons = [event.payload["reason"] for event in events if event.kind is EventKind.PACK_REQUEUED]
    assert sum("are damaged, so it begins again at step 0" in reason for reason in reasons) == 2


def test_a_pack_whose_records_are_damaged_again_and_again_is_errored(
    make_house, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bad_disk(*_: object, **__: object) -> None:
        raise CorruptRecord("its bytes are not those that were committed")

    house = make_house()
    monkeypatch.setattr(RecordStore, "compact", bad_disk)
    assert house.drive() is TrialState.DONE
    assert {pack.attempt for pack in house.ledger.packs(house.study.id)} == {1 + MAX_DEATHS}
    assert house.ledger.counts(house.study.id)["errored"] == 8


@pytest.mark.parametrize("when", ["at its start", "while it trains", "while it stops"])
def test_a_lost_ray_ends_the_driver_and_the_next_one_gives_the_same_bits(
    make_house, tmp_path: Path, undisturbed, when: str
) -> None:
    house = make_house()
    turns = {"at its start": 0, "while it trains": 3, "while it stops": 3}[when]
    stop = StopAfter(3) if when == "while it stops" else None
    with pytest.raises(RayLost, match="raylet has ended"):
        house.drive(ray_dies_at_turn=turns, stop=stop)
    assert all(pack.state is PackState.QUEUED for pack in house.ledger.packs(house.study.id))
    house.finish()
    assert tables(house, tmp_path / "out") == undisturbed


def test_no_trainer_is_asked_of_a_lost_ray(make_house) -> None:
    house = make_house()
    with pytest.raises(RayLost):
        # As with a raylet that was killed: its trainers die with it, and their deaths are heard of first.
        house.drive(ray_dies_at_turn=3, fate=lambda turn: DeadError("gone") if turn == 3 else None)
    assert len(house.trainers) == 2


def test_what_a_checkpoint_replaces_is_deleted_once_it_is_committed(
    make_house, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, undisturbed
) -> None:
    monkeypatch.setattr("workers.planning.packs.CHECKPOINT_S", 0.0)
    house, seen = make_house(), []

    def look(turn: int) -> None:
        files = [path for path in Path(house.places.records).rglob("*") if path.is_file()]
        named = {
            name
            for pack in house.ledger.packs(house.study.id, [PackState.RUNNING])
            for name in [*(row["name"] for row in pack.manifest), (pack.checkpoint or {}).get("name")]
        }
        assert named - {None} <= {path.relative_to(house.places.records).as_posix() for path in files}
        seen.append(sum(path.suffix == ".npz" for path in files))

    house.finish(workers=1, fate=look)
    assert max(seen) == 1
    assert tables(house, tmp_path / "out") == undisturbed


def test_a_dead_trainer_while_stopping_loses_no_more_than_its_turn(make_house) -> None:
    house = make_house()
    stop = StopAfter(3)
    assert house.drive(stop=stop, fate=once(3, DeadError("gone"))) is TrialState.QUEUED
    house.finish()
    assert house.ledger.counts(house.study.id)["done"] == 8


def test_a_pack_that_raises_is_errored_with_its_log_and_the_others_are_done(
    make_house, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = make_house()
    monkeypatch.setattr("workers.cluster.pack_runner._arrays", _wrong_for_sgd())
    assert house.drive() is TrialState.DONE
    counts = house.ledger.counts(house.study.id)
    assert (counts["errored"], counts["done"]) == (4, 4)
    (pack,) = house.ledger.packs(house.study.id, [PackState.ERRORED])
    assert pack.reason == "ValueError: data set digits: its bytes are others"
    assert "Traceback" in pack.log


def _wrong_for_sgd():
    def arrays(task, data_dir, cache):
        if task.members[0].trial.optimizer.kind == "sgd":
            raise ValueError("data set digits: its bytes are others")
        return _arrays(task, data_dir, cache)

    return arrays


def test_a_study_of_other_data_is_not_continued(make_house, monkeypatch: pytest.MonkeyPatch) -> None:
    house = make_house()
    house.drive(stop=StopAfter(3))
    datasets = datasets_of(house.ledger)
    changed = {kind: facts.model_copy(update={"sha256": "0" * 64}) for kind, facts in datasets.items()}
    monkeypatch.setattr("workers.cluster.driver.datasets_of", lambda ledger: changed)
    with pytest.raises(WrongState, match="run the file again"):
        house.drive()


def test_a_full_disk_stops_the_study_says_so_and_loses_nothing(
    make_house, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, undisturbed
) -> None:
    house = make_house()
    write, left = PackWriter.write, [3]

    def fills_up(self, *chunk):
        left[0] -= 1
        if left[0] < 0:
            raise PlaceError(f"{house.places.records}: cannot write this folder: No space left on device")
        return write(self, *chunk)

    monkeypatch.setattr(PackWriter, "write", fills_up)
    with pytest.raises(PlaceError, match="No space left on device"):
        house.drive()
    assert {pack.state for pack in house.ledger.packs(house.study.id)} == {PackState.QUEUED}
    row = house.ledger.study(house.study.id)
    house.ledger.set_study_state(row.id, TrialState.ERRORED, reason="disk", fence=row.attempt)
    monkeypatch.setattr(PackWriter, "write", write)
    house.ledger.continue_study(row.id)
    house.finish()
    assert tables(house, tmp_path / "out") == undisturbed


def test_records_that_cannot_be_written_are_said_before_anything_starts(make_house) -> None:
    house = make_house()
    Path(house.places.records).write_text("a file in its place")
    with pytest.raises(PlaceError, match="--records"):
        house.drive()
    assert house.trainers == []


def test_leftovers_that_cannot_be_deleted_are_no_reason_to_fail(make_house, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_):
        raise PlaceError("read-only")

    house = make_house()
    monkeypatch.setattr(RecordStore, "delete", refuse)
    house.finish()


def test_a_driver_that_was_replaced_commits_nothing_more(make_house) -> None:
    house = make_house()

    def overtaken(turn: int) -> None:
        if turn == 2 and len(house.trainers) == 2:
            house.ledger.release_lease(house.study.id, "run", *_held(house))
            house.ledger.acquire_lease(house.study.id, "run", "another", 30.0)

    with pytest.raises(StaleFence):
        house.drive(fate=overtaken)
    assert house.ledger.counts(house.study.id)["done"] == 0


def _held(house) -> tuple[str, int]:
    lease = house.ledger.lease(house.study.id, "run")
    return lease.owner, lease.fence


def test_a_cancelled_study_ends_between_turns(make_house) -> None:
    house = make_house()

    def cancel(turn: int) -> None:
        if turn == 2:
            house.ledger.request_cancel(house.study.id)

    assert house.drive(fate=cancel) is TrialState.CANCELLED


def test_a_study_that_grows_takes_over_what_is_finished(make_house) -> None:
    house = make_house()
    house.finish()
    grown = house.add(digits(40, num_seeds=2))
    house.trainers.clear()
    house.finish(study=grown)
    counts = house.ledger.counts(grown.id)
    assert counts["done"] == 16
    assert sum(trial.reused_from == house.study.id for trial in house.ledger.trials(grown.id)) == 8


def test_a_study_of_finished_trials_alone_trains_nothing(make_house) -> None:
    house = make_house()
    house.finish()
    same = house.add(digits(40, num_seeds=1, name="another name"))
    before = house.num_rays
    house.finish(study=same)
    assert house.num_rays == before, "a Ray was started for nothing"
    assert house.ledger.has_plan(same.id, 0)
    assert house.ledger.study(same.id).device_class == "cpu"


def test_a_study_whose_trials_were_finished_on_another_machine_trains_them(
    make_house, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = make_house()
    house.finish()
    monkeypatch.setattr(conftest, "FACTS", replace(conftest.FACTS, cpu_capability="ANOTHER"))
    same = house.add(digits(40, num_seeds=1, name="another name"))
    before = house.num_rays
    house.finish(study=same)
    assert house.num_rays == before + 1
    assert all(trial.reused_from is None for trial in house.ledger.trials(same.id))


def test_facts_are_the_same_with_and_without_a_trainer(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    facts = facts_without_trainer("cpu")
    assert (facts.intra_op_threads, facts.torch_version) == (1, str(torch.__version__))
    assert facts.cpu_capability == torch.backends.cpu.get_cpu_capability()
    assert {Path(folder).name for folder in facts.origins.values()} == {"schemas", "workers", "service"}


def test_a_plan_is_not_continued_on_another_kind_of_device(make_house, monkeypatch: pytest.MonkeyPatch) -> None:
    house = make_house()
    house.drive(stop=StopAfter(3))
    monkeypatch.setattr(conftest, "FACTS", replace(conftest.FACTS, device_class="NVIDIA H200"))
    with pytest.raises(CannotRun, match="planned for device class cpu, this machine has NVIDIA H200"):
        house.drive()


def test_a_card_that_is_not_here_is_said(make_house, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.cluster.grounds.cards", list)
    house = make_house()
    cuda = house.add(digits(40) | {"execution": {"device": "cuda"}})
    with pytest.raises(CannotRun, match="no CUDA device"):
        house.drive(study=cuda)


def test_a_report_reads_a_study_while_its_segments_are_replaced(
    make_house, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    house = make_house()
    house.finish()
    stale = [{pack: [_gone(row) for row in rows] for pack, rows in house.ledger.manifests(house.study.id).items()}]
    manifests = type(house.ledger).manifests
    monkeypatch.setattr(
        type(house.ledger), "manifests", lambda self, study: stale.pop() if stale else manifests(self, study)
    )
    assert tables(house, tmp_path / "out")["steps"]


def _gone(row):
    return row | {"name": row["name"] + ".gone"}


def test_a_segment_that_is_gone_for_good_is_an_error(make_house, tmp_path: Path) -> None:
    house = make_house()
    house.finish()
    rows = next(iter(house.ledger.manifests(house.study.id).values()))
    (Path(house.places.records) / SegmentRef(**rows[0]).name).unlink()
    with pytest.raises(CorruptRecord):
        tables(house, tmp_path / "out")


def test_events_stay_gapless_through_all_of_it(make_house) -> None:
    house = make_house()
    house.drive(stop=StopAfter(3))
    house.finish(fate=once(2, DeadError("gone")))
    events = house.ledger.events(house.study.id)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert sum(event.kind is EventKind.TRIAL_DONE for event in events) == 8


def test_a_runner_without_a_pack_says_so_instead_of_raising(tmp_path: Path) -> None:
    assert PackRunner(str(tmp_path), None).advance(None, 1.0).error is not None


def test_a_pack_says_under_which_lease_it_was_started(make_house) -> None:
    house = make_house()
    house.drive(stop=StopAfter(3))
    assert {pack.fence for pack in house.ledger.packs(house.study.id)} == {1}
    house.finish()
    assert {pack.fence for pack in house.ledger.packs(house.study.id)} == {2}
