"""What `verify` is made of: it is silent about a study that is as it should be, and names what is not."""

import math
import threading
from pathlib import Path

import pyarrow as pa
import pytest

from schemas.trials import TrialState
from tests.cluster import conftest
from tests.cluster.conftest import DeadError, House
from tests.e2e.specs import analytic
from tests.tracking.test_loop import Clock
from workers.cluster import retraining
from workers.cluster.retraining import retrain, same_bits
from workers.ledger.rows import PackState
from workers.records import RecordStore, SegmentRef
from workers.results.verifying import check_records
from workers.tracking.checking import compare
from workers.tracking.loop import PublishingState, run_publisher
from workers.tracking.memory_tracker import MemoryTracker
from workers.tracking.names import KEY_TAG
from workers.tracking.publications import MetricPoint
from workers.tracking.publisher import Publisher
from workers.tracking.source import LedgerSource

pytestmark = pytest.mark.slow  # every test trains


@pytest.fixture
def house(make_house, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setattr(retraining, "trainer_facts", lambda device: conftest.FACTS)
    house = make_house(document=analytic(40))
    house.finish()
    return house


def publish(house: House, tracker: MemoryTracker) -> PublishingState:
    stop = threading.Event()
    stop.set()
    source = LedgerSource(house.ledger, house.study.id, house.places, stop)
    clock = Clock()  # so that a busy machine does not end it before all is published
    return run_publisher(source, Publisher(tracker), stop, drain_s=0.5, clock=clock, sleep=clock.sleep)


def trained_again(house: House, num_trials: int = 3) -> retraining.Retrained:
    return retrain(house.ledger, house.study.id, house.places, num_trials)


def with_other_rows(house: House, change) -> None:
    """Commit the steps of one pack again, changed: the manifest is right, the rows are not those that were trained."""
    pack = house.ledger.packs(house.study.id, [PackState.DONE])[0]
    old = tuple(SegmentRef(**row) for row in pack.manifest)
    store = RecordStore(house.places.records)
    rows = change(store.read(old, "steps"))
    writer = store.writer(pack.pack_id, 99, tuple(segment for segment in old if segment.table != "steps"))
    writer.write_arrow("0-40", 0, 40, {"steps": rows})
    fence = house.ledger.study(house.study.id).attempt
    manifest = [vars(segment) for segment in writer.manifest]
    assert house.ledger.compacted(house.study.id, pack.pack_id, fence, pack.manifest, manifest)


def test_a_study_that_is_as_it_should_be_has_no_findings(house: House) -> None:
    tracker = MemoryTracker()
    publish(house, tracker)
    checked = check_records(house.ledger, house.study.id, house.places)
    assert (checked.num_trials, checked.num_packs, checked.findings) == (8, 2, [])
    assert checked.num_rows > 8 * 40
    compared = compare(house.ledger, house.study.id, house.places, tracker)
    assert (compared.num_runs, compared.findings) == (9, [])
    assert compared.num_points > 8 * 3
    again = trained_again(house)
    assert (len(again.trial_ids), again.left_out, again.findings) == (3, [], [])
    assert again.num_rows >= 3 * 40


def test_a_study_of_which_a_pack_was_halved_has_no_findings_either(make_house, monkeypatch) -> None:
    monkeypatch.setattr(retraining, "trainer_facts", lambda device: conftest.FACTS)
    house = make_house(document=analytic(40))
    message = "Workers (tasks / actors) killed due to memory pressure (OOM)"
    house.finish(curse=lambda task: DeadError(message) if task.size > 2 else None)
    assert check_records(house.ledger, house.study.id, house.places).findings == []
    assert (len(trained_again(house, 8).trial_ids), trained_again(house, 8).findings) == (8, [])


def test_bytes_that_were_changed_are_found(house: House) -> None:
    path = next(Path(house.places.records).rglob("steps/*.parquet"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    (finding,) = check_records(house.ledger, house.study.id, house.places).findings
    assert "its bytes are not those that were committed" in finding


def test_rows_that_are_there_twice_are_found(house: House) -> None:
    with_other_rows(house, lambda rows: pa.concat_tables([rows, rows.slice(3, 1)]))
    findings = check_records(house.ledger, house.study.id, house.places).findings
    assert any("1 rows of steps are there more than once" in finding for finding in findings)


def test_rows_that_are_missing_are_found(house: House) -> None:
    with_other_rows(house, lambda rows: pa.concat_tables([rows.slice(0, 5), rows.slice(6)]))
    (finding,) = check_records(house.ledger, house.study.id, house.places).findings
    assert finding.endswith("40 rows of steps, of 40 steps")


def test_a_last_loss_that_the_ledger_does_not_have_is_found(house: House) -> None:
    with_other_rows(house, lambda rows: _with_loss(rows, 40, 123.0))
    (finding,) = check_records(house.ledger, house.study.id, house.places).findings
    assert "its last loss is [123.]" in finding


def _with_loss(rows: pa.Table, row: int, loss: float) -> pa.Table:
    column = rows.schema.get_field_index("train_loss")
    values = rows["train_loss"].to_pylist()
    values[row] = loss
    return rows.set_column(column, rows.schema.field(column), pa.array(values, rows.schema.field(column).type))


def test_one_bit_of_one_loss_is_found_by_training_again(house: House) -> None:
    with_other_rows(house, lambda rows: _with_loss(rows, 7, math.nextafter(rows["train_loss"][7].as_py(), 1e9)))
    assert check_records(house.ledger, house.study.id, house.places).findings == []
    (finding,) = trained_again(house, 8).findings
    assert "steps of" in finding
    assert finding.endswith("have other bits")


def test_another_machine_compares_nothing_and_says_why(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    again = trained_again(house)
    assert (again.trial_ids, again.findings) == ([], [])
    assert "it was trained with cpu_capability TEST, here it is" in again.left_out[0]


def test_zero_and_minus_zero_are_other_bits_and_nan_is_nan() -> None:
    def column(*values: float) -> pa.Table:
        return pa.table({"value": list(values)})

    assert same_bits(column(math.nan, 0.0), column(math.nan, 0.0))
    assert not same_bits(column(0.0), column(-0.0))
    assert not same_bits(column(0.0), column(0.0, 0.0))


def test_a_tracker_without_the_study_is_found(house: House) -> None:
    compared = compare(house.ledger, house.study.id, house.places, MemoryTracker())
    assert compared.findings == ["the tracker does not have the study; `warmup-bench sync` publishes it"]


def test_runs_and_points_too_many_and_too_few_are_found(house: House) -> None:
    tracker = MemoryTracker()
    publish(house, tracker)
    parent, lost, doubled, strange, *_ = tracker.runs.values()
    lost.discarded = True
    tracker.create_run(doubled.experiment_id, "again", 0, {KEY_TAG: doubled.tags[KEY_TAG]})
    key, point = next(iter(strange.points.items()))
    strange.points[(*key, "again")] = point._replace(value=point.value + 1.0)
    tracker.create_run(parent.experiment_id, "foreign", 0, {KEY_TAG: "of nobody"})
    findings = compare(house.ledger, house.study.id, house.places, tracker).findings
    assert findings == [
        f"{doubled.tags[KEY_TAG]}: 2 runs",
        f"{lost.tags[KEY_TAG]}: no run; `warmup-bench sync` publishes it",
        f"{strange.tags[KEY_TAG]}: 1 points not of the records, 1 points there twice",
        "of nobody: no such trial is final",
    ]


def test_a_replanned_trial_has_one_run_with_the_points_of_its_new_bits_alone(make_house) -> None:
    house, tracker = make_house(document=analytic(40)), MemoryTracker()
    published = []

    def curse(task) -> Exception | None:
        if task.size < 4:
            return None
        if not published:
            published.append(task)
            return None
        publish(house, tracker)  # live: what is durable of the pack as it was planned
        return DeadError("killed due to memory pressure")

    assert house.drive(workers=1, curse=curse) is TrialState.DONE
    row = house.ledger.study(house.study.id)
    house.ledger.set_study_state(row.id, TrialState.DONE, fence=row.attempt)
    live = [run for run in tracker.runs.values() if run.status == "RUNNING" and run.points]
    assert live
    for run in live:  # as if the size had moved a bit, which it need not
        run.points = {
            (*key, "old"): MetricPoint(point.key, point.value * 2, point.step, point.timestamp_ms)
            for key, point in run.points.items()
        }
    assert publish(house, tracker) is PublishingState.CURRENT
    assert compare(house.ledger, house.study.id, house.places, tracker).findings == []
