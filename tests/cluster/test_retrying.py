"""The retry policy: who is tried again, in which packs, and what it costs the others. Nobody else notices."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from schemas.errors import DataMissing
from schemas.trials import PackTask, TrialState
from tests.cluster.conftest import DeadError, House
from tests.cluster.test_slots import UNAVAILABLE
from tests.e2e.specs import analytic
from workers.cluster import driver as driver_module
from workers.cluster import pack_runner
from workers.cluster.driver import MAX_DEATHS, MAX_LOST_NODES
from workers.cluster.fitness import Fitness, Nodes
from workers.cluster.grounds import ThisMachine
from workers.cluster.pack_runner import PackTrainer
from workers.ledger.rows import EventKind, PackState

pytestmark = pytest.mark.slow  # every test trains


Rows = dict[str, dict[str, list[str]]]


@pytest.fixture
def undisturbed(make_house) -> Rows:
    house = make_house("undisturbed", document=analytic(40))
    house.finish()
    return house.rows()


def third(house: House) -> str:
    """The trial that is guilty: neither the first nor the last of its pack."""
    return list(house.ledger.trials(house.study.id))[2].trial_id


def holds(task: PackTask, trial_id: str) -> bool:
    return any(member.trial.trial_id == trial_id for member in task.members)


def by_state(house: House) -> dict[str, int]:
    counts = house.ledger.counts(house.study.id)
    return {state: counts[state] for state in ("done", "errored", "queued", "running")}


def test_a_pack_that_kills_is_halved_then_run_solo_and_the_guilty_trial_alone_is_errored(
    make_house, undisturbed: Rows
) -> None:
    house = make_house(document=analytic(40))
    guilty, deaths = third(house), []

    def curse(task: PackTask) -> Exception | None:
        if holds(task, guilty):
            deaths.append((task.size, len(task.members)))
            return DeadError("killed by signal 9")
        return None

    assert house.drive(workers=1, curse=curse) is TrialState.DONE
    assert deaths == [(4, 4)] * MAX_DEATHS + [(2, 2)] * MAX_DEATHS + [(1, 1)] * MAX_DEATHS
    assert by_state(house) == {"done": 7, "errored": 1, "queued": 0, "running": 0}
    (errored,) = house.ledger.packs(house.study.id, [PackState.ERRORED])
    assert (errored.members, "killed by signal 9" in errored.log) == (((guilty, 0),), True)
    trials = {trial.trial_id: trial for trial in house.ledger.trials(house.study.id)}
    assert "(3 times)" in trials[guilty].reason
    assert sum(trial.replanned for trial in trials.values()) == 4
    sizes = {trial.trial_id: trial.execution_id for trial in trials.values()}
    assert len(set(sizes.values())) == 3, "the bits are those of the sizes 4, 2 and 1"
    _is_close(house.rows(), undisturbed)


def _is_close(rows: Rows, expected: Rows) -> None:
    """Another size of pack may give other last digits."""
    assert rows.keys() < expected.keys()
    for trial_id, tables in rows.items():
        found, wanted = (
            [float(row.split("'train_loss': ")[1].split(",")[0]) for row in each["steps"][:10]]
            for each in (tables, expected[trial_id])
        )
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_a_pack_that_loses_its_node_again_and_again_is_the_same_pack_in_the_end(make_house, undisturbed: Rows) -> None:
    house, lost = make_house(document=analytic(40)), [0]

    def curse(task: PackTask) -> Exception | None:
        lost[0] += 1
        return DeadError(UNAVAILABLE) if lost[0] <= 2 * MAX_DEATHS else None

    house.finish(workers=1, curse=curse)
    assert {pack.size for pack in house.ledger.packs(house.study.id)} == {4}
    assert house.rows() == undisturbed


def test_a_pack_that_loses_every_node_without_a_step_is_taken_for_what_ends_them(make_house) -> None:
    house = make_house(document=analytic(40))
    guilty, sizes = third(house), []

    def curse(task: PackTask) -> Exception | None:
        sizes.append(task.size)
        return DeadError(UNAVAILABLE) if holds(task, guilty) and task.size == 4 else None

    house.finish(workers=1, curse=curse)
    assert sizes[: MAX_LOST_NODES + 1] == [4] * MAX_LOST_NODES + [2]


@pytest.mark.parametrize(("others", "num_done"), [({"b"}, 8), (set(), 4)])
def test_a_node_without_the_data_is_avoided_if_another_may_have_it(make_house, monkeypatch, others, num_done) -> None:
    house, fitness = make_house(), Fitness("/records", None, lambda: Nodes(frozenset({"", *others}), ""))
    monkeypatch.setattr(ThisMachine, "fitness", lambda *_: fitness)
    arrays, lacks = pack_runner._arrays, ["digits"]

    def here(*how):
        if lacks:
            raise DataMissing(f"no data set {lacks.pop()} here")
        return arrays(*how)

    monkeypatch.setattr(pack_runner, "_arrays", here)
    assert house.drive(workers=1) is TrialState.DONE
    assert by_state(house) == {"done": num_done, "errored": 8 - num_done, "queued": 0, "running": 0}
    assert len(fitness.avoided) == len(others)


def test_a_pack_that_runs_out_of_memory_is_halved_at_once(make_house, monkeypatch: pytest.MonkeyPatch) -> None:
    house, sizes = make_house(document=analytic(40)), []
    build = PackTrainer.__init__

    def small_machine(self, task, *args, **kwargs):
        sizes.append(task.size)
        if task.size > 2:
            raise MemoryError("cannot allocate")
        build(self, task, *args, **kwargs)

    monkeypatch.setattr(PackTrainer, "__init__", small_machine)
    assert house.drive(workers=1) is TrialState.DONE
    assert sizes == [4, 2, 2, 4, 2, 2]
    assert by_state(house)["done"] == 8
    assert all(trial.replanned for trial in house.ledger.trials(house.study.id))


def test_a_trainer_that_ray_ends_for_its_memory_has_its_pack_halved(make_house) -> None:
    house = make_house(document=analytic(40))
    message = "Workers (tasks / actors) killed due to memory pressure (OOM)"
    house.finish(workers=1, curse=lambda task: DeadError(message) if task.size > 2 else None)
    assert {pack.size for pack in house.ledger.packs(house.study.id, [PackState.DONE])} == {2}
    assert by_state(house)["done"] == 8


def test_a_trial_too_large_for_the_machine_alone_is_errored_and_said(make_house, monkeypatch) -> None:
    house = make_house(document=analytic(40))

    def full(self, *_, **__):
        raise MemoryError("cannot allocate")

    monkeypatch.setattr(PackTrainer, "__init__", full)
    assert house.drive() is TrialState.DONE
    assert by_state(house)["errored"] == 8
    assert {trial.reason for trial in house.ledger.trials(house.study.id)} == {"MemoryError: cannot allocate"}


def test_an_error_in_one_trial_is_that_trial_s_and_its_neighbours_keep_their_bits(
    make_house, monkeypatch: pytest.MonkeyPatch, undisturbed: Rows
) -> None:
    house = make_house(document=analytic(40))
    guilty, run_chunk = third(house), PackTrainer.run_chunk

    def raises(self, *args, **kwargs):
        if self.position >= 20 and holds(self._task, guilty):
            raise ZeroDivisionError("of trial three")
        return run_chunk(self, *args, **kwargs)

    monkeypatch.setattr(PackTrainer, "run_chunk", raises)
    assert house.drive() is TrialState.DONE
    assert by_state(house) == {"done": 7, "errored": 1, "queued": 0, "running": 0}
    (errored,) = house.ledger.packs(house.study.id, [PackState.ERRORED])
    assert [trial_id for trial_id, _ in errored.members] == [guilty]
    assert "Traceback" in errored.log
    assert not any(trial.replanned for trial in house.ledger.trials(house.study.id))
    rows = house.rows()
    assert rows.keys() == undisturbed.keys()
    assert {trial_id for trial_id in rows if rows[trial_id] != undisturbed[trial_id]} == {guilty}


def test_what_a_pack_wrote_before_it_was_replaced_is_swept(make_house) -> None:
    house = make_house(document=analytic(40))
    first = []

    def curse(task: PackTask) -> Exception | None:
        first.append(task.pack_id)
        return DeadError("gone") if task.pack_id == first[0] and len(first) > 1 else None

    house.finish(workers=1, curse=curse)
    (superseded,) = house.ledger.packs(house.study.id, [PackState.SUPERSEDED])
    assert superseded.step == 10
    named = {row["name"] for rows in house.ledger.manifests(house.study.id).values() for row in rows}
    root = Path(house.places.records)
    assert {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()} == named


def test_divergence_is_a_result_and_never_tried_again(make_house) -> None:
    house = make_house(document=analytic(40))
    document = analytic(40, name="too fast")
    document["peak_lrs"] = {"values": [0.01, 1e30]}
    study = house.add(document)
    house.finish(study=study)
    assert house.ledger.counts(study.id)["diverged"] >= 1
    assert {pack.attempt for pack in house.ledger.packs(study.id)} == {1}
    kinds = {event.kind for event in house.ledger.events(study.id)}
    assert not kinds & {EventKind.PACK_REQUEUED, EventKind.PACK_REPLANNED, EventKind.TRIAL_ERRORED}


def test_a_lost_trainer_s_pack_waits_longer_each_time_and_the_others_do_not(
    make_house, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver_module, "RETRY_S", 0.3)
    house = make_house(document=analytic(40))
    first, began = [], {}

    def curse(task: PackTask) -> Exception | None:
        first.append(task.pack_id)
        began.setdefault(task.pack_id, []).append(time.monotonic())
        is_cursed = task.pack_id == first[0] and len(began[task.pack_id]) < MAX_DEATHS
        return DeadError("gone") if is_cursed else None

    house.finish(workers=1, curse=curse)
    mine = began.pop(first[0])
    (other,) = began.values()
    assert mine[1] - mine[0] >= 0.3
    assert mine[2] - mine[1] >= 0.6
    assert mine[0] < other[0] < mine[2]


def once(error: Exception) -> Callable[[int], Exception | None]:
    left = [error]
    return lambda turn: left.pop() if left else None


def test_a_lost_trainer_costs_an_attempt_and_no_bit(make_house, undisturbed: Rows) -> None:
    house = make_house(document=analytic(40))
    house.finish(fate=once(DeadError("gone")))
    assert house.rows() == undisturbed
