"""A pack in turns: resumed equals uninterrupted, compacted records, an orphan that writes nothing more."""

import math
import os
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from schemas.study import parse_study
from schemas.trials import PackTask
from tests.e2e.specs import digits
from workers.cluster.orders import PackOrder, Progress
from workers.cluster.pack_runner import PackRunner
from workers.cluster.planning import StudyTrials, datasets_of, pack_task
from workers.data import scan
from workers.planning import expand_trials, measurement_plans, plan_packs
from workers.records import RecordStore, SegmentRef

pytestmark = pytest.mark.slow  # every test trains


@pytest.fixture
def task(make_house) -> PackTask:
    """A pack as a driver would plan it: through the ledger and back."""
    house = make_house()
    trials = StudyTrials(parse_study(house.study.spec), datasets_of(house.ledger))
    house.finish()
    return pack_task(house.ledger.packs(house.study.id)[0], trials, "cpu")


def to_the_end(runner: PackRunner, order: PackOrder) -> Progress:
    progress = runner.advance(order, 0.0)
    while progress.results is None:
        assert progress.error is None, progress.error
        progress = runner.advance(None, 0.0)
    return progress


def test_a_task_comes_back_from_the_ledger_as_it_was_planned(task: PackTask) -> None:
    study = parse_study(digits(40, num_seeds=1))
    datasets = {facts.kind: facts for facts in scan(None)}
    trials = expand_trials(study, datasets)
    packs = plan_packs(trials, datasets, device_class="cpu")
    plans = measurement_plans(trials, study.fields, datasets)
    (mine,) = [pack for pack in packs if pack.trial_ids == tuple(member.trial.trial_id for member in task.members)]
    assert (task.size, task.chunk_steps) == (mine.size, mine.chunk_steps)
    assert [member.slot for member in task.members] == [0, 1, 2, 3]
    points = task.members[0].probe_points
    assert points in [plan.points for plan in plans.values()]
    assert points["sharpness"].steps


def test_resumed_equals_uninterrupted(task: PackTask, tmp_path: Path) -> None:
    whole = to_the_end(PackRunner(str(tmp_path / "a"), None), PackOrder(task, 1, [], None))
    first = PackRunner(str(tmp_path / "b"), None)
    first.advance(PackOrder(task, 1, [], None), 0.0)
    saved = first.advance(None, 0.0, save=True)
    assert saved.checkpoint is not None
    after = first.advance(None, 0.0)  # a chunk after the checkpoint, which the next attempt has to drop
    resumed = PackOrder(task, 2, after.manifest, after.checkpoint)
    parts = to_the_end(PackRunner(str(tmp_path / "b"), None), resumed)
    assert parts.timed_steps == whole.timed_steps - saved.step
    assert _bits(whole) == _bits(parts)
    assert repr(whole.results) == repr(parts.results)  # as text: NaN equals NaN


def _bits(progress: Progress) -> dict[str, str]:
    return {row["table"]: row["sha256"] for row in progress.manifest if row["table"] != "timings"}


def test_a_finished_pack_has_one_segment_a_table(task: PackTask, tmp_path: Path) -> None:
    done = to_the_end(PackRunner(str(tmp_path), None), PackOrder(task, 1, [], None))
    tables = [row["table"] for row in done.manifest]
    assert len(tables) == len(set(tables))
    assert len(done.replaced) > len(done.manifest)
    manifest = tuple(SegmentRef(**row) for row in done.manifest)
    steps = RecordStore(tmp_path).read(manifest, "steps")
    assert np.array_equal(steps["step"].to_numpy()[:40], np.arange(40))


def test_the_manifest_of_an_open_pack_stays_short(task: PackTask, tmp_path: Path) -> None:
    runner, listed = PackRunner(str(tmp_path / "many"), None), []
    short = replace(task, chunk_steps=1, checkpoint_steps=1)
    progress = runner.advance(PackOrder(short, 1, [], None), 0.0)
    while progress.results is None:
        listed.append(max(Counter(row["table"] for row in progress.manifest).values()))
        progress = runner.advance(None, 0.0)
    assert len(listed) == 39
    assert max(listed) <= 1 + math.log2(len(listed))
    whole = to_the_end(PackRunner(str(tmp_path / "few"), None), PackOrder(task, 1, [], None))
    assert _bits(progress) == _bits(whole)


def test_a_damaged_record_is_said_to_be_one(task: PackTask, tmp_path: Path) -> None:
    runner = PackRunner(str(tmp_path), None)
    saved = runner.advance(PackOrder(task, 1, [], None), 0.0, save=True)
    (tmp_path / str((saved.checkpoint or {})["name"])).write_bytes(b"")
    failed = runner.advance(PackOrder(task, 2, saved.manifest, saved.checkpoint), 0.0)
    assert (failed.is_damaged, failed.is_place_error) == (True, False)
    assert "its bytes are not those that were committed" in failed.reason


@pytest.mark.parametrize("turn_s", [0.0, 1e9])
def test_checkpoints_are_made_at_the_steps_of_the_plan_however_long_a_turn_is(
    task: PackTask, tmp_path: Path, turn_s: float
) -> None:
    runner, saved = PackRunner(str(tmp_path), None), []
    progress = runner.advance(PackOrder(replace(task, chunk_steps=5, checkpoint_steps=15), 1, [], None), turn_s)
    while progress.results is None:
        saved.append((progress.checkpoint or {"step": 0})["step"])
        progress = runner.advance(None, turn_s)
    assert list(dict.fromkeys(saved)) == ([0, 15, 30] if turn_s == 0.0 else [15, 30])


def test_a_resumed_pack_goes_on_with_the_steps_of_the_plan(task: PackTask, tmp_path: Path) -> None:
    often = replace(task, chunk_steps=5, checkpoint_steps=15)
    first = PackRunner(str(tmp_path), None).advance(PackOrder(often, 1, [], None), 0.0, save=True)
    assert (first.checkpoint or {})["step"] == 5  # asked for, between two that the plan has
    second = PackRunner(str(tmp_path), None).advance(PackOrder(often, 2, first.manifest, first.checkpoint), 1e9)
    assert (second.checkpoint or {})["step"] == 15


def test_every_member_has_a_result_in_slot_order(task: PackTask, tmp_path: Path) -> None:
    done = to_the_end(PackRunner(str(tmp_path), None), PackOrder(task, 1, [], None))
    assert [result["slot"] for result in done.results or []] == [member.slot for member in task.members]
    assert {result["state"] for result in done.results or []} == {"done"}


def test_data_with_other_bytes_is_refused(task: PackTask, tmp_path: Path) -> None:
    member = task.members[0]
    strange = replace(member, trial=replace(member.trial, dataset_sha256="0" * 64))
    progress = PackRunner(str(tmp_path), None).advance(PackOrder(replace(task, members=(strange,)), 1, [], None), 0.0)
    assert progress.reason.startswith("ValueError: data set digits: its bytes on this machine")
    assert "Traceback" in (progress.error or "")
    assert not progress.is_place_error


def test_a_place_that_fails_is_no_fault_of_the_pack(task: PackTask, tmp_path: Path) -> None:
    (tmp_path / "packs").write_text("a file in its place")
    progress = PackRunner(str(tmp_path), None).advance(PackOrder(task, 1, [], None), 0.0)
    assert progress.is_place_error
    assert "--records" in progress.reason


class LeftError(BaseException):
    """Stands for the end of the process."""


def test_an_orphan_writes_nothing_more(task: PackTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(status: int) -> None:
        raise LeftError

    runner = PackRunner(str(tmp_path), None)
    before = runner.advance(PackOrder(task, 1, [], None), 0.0)
    there = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    monkeypatch.setattr(os, "getppid", lambda: 1)
    monkeypatch.setattr(os, "_exit", leave)
    with pytest.raises(LeftError):
        runner.advance(None, 0.0)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == there
    assert asdict(before)["step"] == 10
