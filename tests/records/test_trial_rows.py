"""Some rows of one trial: the right ones, in order, page by page, read from as little as can be."""

import numpy as np
import pytest

from schemas.errors import CorruptRecord
from workers.records import RecordStore, SegmentRef
from workers.records import store as store_module
from workers.records.pages import RowPosition, Selection, read_trial_rows

IDS = [f"trial-{n}" for n in range(5)]
ALL = ("trial_id", "step", "lr", "train_loss", "gradient_norm", "update_norm")


@pytest.fixture
def written(store, make_chunk):
    """A pack of five trials, 40 steps in four chunks."""
    writer = store.writer("pack", 1)
    for first in range(0, 40, 10):
        writer.write(first, first + 9, make_chunk(IDS, first, 10))
    return writer.manifest


@pytest.fixture(params=["training", "folded", "compacted"])
def manifest(request, store, written):
    """The same rows, as they lie while the pack trains and when it is done."""
    if request.param == "folded":
        return store.fold("pack", 1, written)
    return store.compact("pack", 1, written, trial_ids=IDS[::-1]) if request.param == "compacted" else written


def pages(store, manifest, trial_id, **said):
    """Every page from the first to the last."""
    found, after = [], None
    while True:
        rows, after = read_trial_rows(store, manifest, trial_id, Selection(**said, after=after))
        found.append(rows)
        if after is None:
            return found


def test_the_rows_of_a_trial_are_its_own_and_the_same_however_they_lie(store, written, manifest):
    rows, following = read_trial_rows(store, manifest, IDS[3], Selection("steps", ALL, 1_000))
    expected = store.read(written, "steps", trial_ids=[IDS[3]])
    assert following is None
    assert rows.to_pydict().keys() == expected.to_pydict().keys()
    for name in ALL:
        np.testing.assert_array_equal(rows[name].to_numpy(), expected[name].to_numpy())


@pytest.mark.parametrize("limit", [1, 7, 10, 39, 40, 41])
def test_pages_end_to_end_are_all_rows_once(store, manifest, limit):
    parts = pages(store, manifest, IDS[1], table="steps", columns=("step",), limit=limit)
    assert [step for part in parts for step in part["step"].to_pylist()] == list(range(40))
    assert all(part.num_rows == limit for part in parts[:-1])
    assert parts[-1].num_rows > 0


def test_a_range_of_steps_is_inclusive_and_thinning_keeps_multiples(store, manifest):
    chosen = Selection("steps", ("step",), 1_000, first_step=9, last_step=30, every=3)
    rows, _ = read_trial_rows(store, manifest, IDS[0], chosen)
    assert rows["step"].to_pylist() == [9, 12, 15, 18, 21, 24, 27, 30]


def test_columns_come_in_their_own_order_and_no_others(store, manifest):
    rows, _ = read_trial_rows(store, manifest, IDS[0], Selection("steps", ("train_loss", "step"), 3))
    assert rows.column_names == ["step", "train_loss"]


def test_several_rows_of_one_step_are_split_between_pages_without_loss(store):
    writer = store.writer("pack", 1)
    for first in (0, 2):
        steps = np.repeat(np.arange(first, first + 2), 3)
        events = {"trial_id": np.array(["a"] * 6), "step": steps, "kind": np.array([f"k{i % 3}" for i in range(6)])}
        writer.write(first, first + 1, {"events": events | {"values": np.array(["{}"] * 6)}})
    parts = pages(store, writer.manifest, "a", table="events", columns=("step", "kind"), limit=2)
    rows = [(row["step"], row["kind"]) for part in parts for row in part.to_pylist()]
    assert rows == [(step, f"k{i}") for step in range(4) for i in range(3)]


def test_rows_come_by_step_though_a_segment_has_them_otherwise(store):
    steps = np.array([4, 0, 2, 4, 0])
    events = {"trial_id": np.array(["a"] * 5), "step": steps, "kind": np.array(list("vwxyz"))}
    writer = store.writer("pack", 1)
    writer.write(0, 4, {"events": events | {"values": np.array(["{}"] * 5)}})
    parts = pages(store, writer.manifest, "a", table="events", columns=("kind",), limit=2)
    assert "".join(kind for part in parts for kind in part["kind"].to_pylist()) == "wzxvy"


def test_a_table_without_steps_is_paged_by_rows(store):
    writer = store.writer("pack", 1)
    for chunk in range(3):
        timings = {"trial_id": np.array(["a", "b", "a"]), "phase": np.array(["train", "train", f"p{chunk}"])}
        writer.write(chunk, chunk, {"timings": timings | {"seconds": np.arange(3.0)}})
    parts = pages(store, writer.manifest, "a", table="timings", columns=("phase",), limit=2)
    phases = [phase for part in parts for phase in part["phase"].to_pylist()]
    assert phases == ["train", "p0", "train", "p1", "train", "p2"]


def test_a_position_taken_while_the_pack_trained_goes_on_after_compaction(store, written):
    rows, after = read_trial_rows(store, written[:2], IDS[2], Selection("steps", ("step",), 6))
    compacted = store.compact("pack", 1, written)
    more, _ = read_trial_rows(store, compacted, IDS[2], Selection("steps", ("step",), 1_000, after=after))
    assert rows["step"].to_pylist() + more["step"].to_pylist() == list(range(40))


def test_only_segments_that_can_hold_a_row_are_touched(store, written):
    others = [segment for segment in written if segment.table != "steps" or segment.first_step != 20]
    store.delete(others)
    rows, _ = read_trial_rows(store, written, IDS[0], Selection("steps", ("step",), 100, first_step=20, last_step=29))
    assert rows["step"].to_pylist() == list(range(20, 30))


def test_an_unknown_trial_has_no_rows(store, manifest):
    rows, after = read_trial_rows(store, manifest, "nobody", Selection("steps", ALL, 5))
    assert (rows.num_rows, rows.column_names, after) == (0, list(ALL), None)


def test_numbers_that_are_not_finite_stay_what_they_are(store):
    chunk = {name: np.array([0.5, np.nan, np.inf, -np.inf]) for name in ALL[2:]}
    writer = store.writer("pack", 1)
    writer.write(0, 3, {"steps": {"trial_id": np.array(["a"] * 4), "step": np.arange(4)} | chunk})
    rows, _ = read_trial_rows(store, writer.manifest, "a", Selection("steps", ("train_loss",), 10))
    np.testing.assert_array_equal(rows["train_loss"].to_numpy(), chunk["train_loss"])


def test_a_large_segment_is_read_in_parts(store, written, monkeypatch):
    monkeypatch.setattr(store_module, "WHOLE_BYTES", 0)

    def refuse(*_):
        raise AssertionError("a whole object was fetched")

    monkeypatch.setattr(type(store._place), "get", refuse)
    rows, _ = read_trial_rows(store, written, IDS[4], Selection("steps", ("step",), 1_000))
    assert rows["step"].to_pylist() == list(range(40))


@pytest.mark.parametrize("whole_bytes", [0, 8 << 20])
def test_a_segment_that_is_gone_or_damaged_is_said_so(store, written, monkeypatch, whole_bytes):
    monkeypatch.setattr(store_module, "WHOLE_BYTES", whole_bytes)
    first = next(segment for segment in written if segment.table == "steps")
    store.delete([first])
    with pytest.raises(CorruptRecord, match="missing"):
        read_trial_rows(store, written, IDS[0], Selection("steps", ALL, 5))
    store._place.put_new(first.name, b"PAR1 no")
    with pytest.raises(CorruptRecord, match=first.name):
        read_trial_rows(store, written, IDS[0], Selection("steps", ALL, 5))


def test_row_groups_without_the_trial_are_not_decoded(tmp_path, monkeypatch):
    """A compacted pack larger than a row group: one trial's page decodes the groups that hold it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from workers.records.tables import arrow_schema

    ids = pa.array(np.repeat(["a", "b", "c", "d"], 1_000)).dictionary_encode()
    step = pa.array(np.tile(np.arange(1_000), 4))
    numbers = [pa.array(np.arange(4_000.0)) for _ in range(4)]
    file = tmp_path / "one.parquet"
    pq.write_table(pa.Table.from_arrays([ids, step, *numbers], schema=arrow_schema("steps")), file, row_group_size=500)
    ref = SegmentRef("steps", file.name, "", 4_000, store_module.WHOLE_BYTES + 1, 0, 999)
    decoded = []
    iter_batches = pq.ParquetFile.iter_batches

    def noted(self, *args, row_groups, **more):
        decoded.extend(row_groups)
        return iter_batches(self, *args, row_groups=row_groups, **more)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", noted)
    after = RowPosition(499, 1)
    rows, following = read_trial_rows(RecordStore(tmp_path), (ref,), "c", Selection("steps", ("lr",), 3, after=after))
    assert rows["lr"].to_pylist() == [2_500.0, 2_501.0, 2_502.0]
    assert following == RowPosition(502, 1)
    assert decoded == [5]
