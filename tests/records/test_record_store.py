"""A record store gives back what was written, through manifests only: one suite for local disk and object storage."""

from collections.abc import Callable
from dataclasses import replace
from uuid import uuid4

import fsspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import records
from schemas.errors import CorruptRecord
from workers.records import (
    Manifest,
    RecordStore,
    arrow_schema,
    manifest_from_json,
    manifest_to_json,
    needs_compaction,
)

MakeChunk = Callable[..., dict[str, dict[str, np.ndarray]]]


def written(store: RecordStore, make_chunk: MakeChunk, pack_id: str = "p0", ids: list[str] | None = None) -> Manifest:
    """Three chunks of ten steps each."""
    writer = store.writer(pack_id, 1)
    for first in (0, 10, 20):
        writer.write(first, first + 10, make_chunk(ids or ["b", "a", "c"], first, 10))
    return writer.manifest


def files_below(store: RecordStore) -> set[str]:
    files, path = fsspec.core.url_to_fs(store.root)
    return {name[len(path) :].lstrip("/") for name in files.find(path)}


def test_reading_gives_back_the_rows_that_were_written(store: RecordStore, make_chunk: MakeChunk) -> None:
    rows = make_chunk(["b", "a"], 0, 5)["steps"]
    writer = store.writer("p0", 1)
    writer.write(0, 5, {"steps": rows})
    read = store.read(writer.manifest, "steps")
    assert read.column_names == list(records.names("steps"))
    for name, column in rows.items():
        np.testing.assert_array_equal(read[name].to_pylist(), column.tolist())


def test_types_are_those_of_the_list_with_trial_ids_as_a_dictionary(store: RecordStore, make_chunk: MakeChunk) -> None:
    manifest = written(store, make_chunk)
    schema = store.read(manifest, "steps").schema
    assert schema == arrow_schema("steps")
    assert schema.field("trial_id").type == pa.dictionary(pa.int32(), pa.string())
    assert [str(field.type) for field in schema][1:] == ["int64", "double", "double", "double", "double"]


def test_every_type_of_the_list_comes_back(store: RecordStore) -> None:
    values = {
        "string": ["a", "", "ü"],
        "int64": [-1, 0, 2**62],
        "float64": [0.1, -0.0, np.inf],
        "bool": [True, False, True],
    }
    for table in records.PACK_TABLES:
        rows = {column.name: np.array(values[column.type]) for column in records.TABLES[table]}
        writer = store.writer("p0", 1)
        writer.write(0, 1, {table: rows})
        assert store.read(writer.manifest, table).to_pydict() == {name: rows[name].tolist() for name in rows}


def test_narrower_numbers_are_widened_exactly(store: RecordStore) -> None:
    writer = store.writer("p0", 1)
    seconds = np.array([0.1, 2.0], np.float32)
    writer.write(0, 1, {"timings": {"trial_id": ["a", "b"], "phase": ["train", "train"], "seconds": seconds}})
    assert store.read(writer.manifest, "timings")["seconds"].to_pylist() == seconds.astype(float).tolist()


def test_a_segment_lies_where_the_contract_says(store: RecordStore, make_chunk: MakeChunk) -> None:
    writer = store.writer("p0", 3)
    writer.write(0, 10, make_chunk(["a"], 0, 10))
    assert [segment.name for segment in writer.manifest] == [
        "packs/p0/3/steps/0-10.parquet",
        "packs/p0/3/events/0-10.parquet",
    ]


def test_a_table_without_rows_makes_no_object(store: RecordStore, make_chunk: MakeChunk) -> None:
    writer = store.writer("p0", 1)
    segments = writer.write(0, 10, make_chunk(["a"], 0, 10))
    assert {segment.table for segment in segments} == {"steps", "events"}
    assert files_below(store) == {segment.name for segment in segments}


def test_a_table_that_a_manifest_does_not_name_reads_as_no_rows(store: RecordStore) -> None:
    assert store.read((), "probes") == arrow_schema("probes").empty_table()


def test_a_file_that_no_manifest_names_is_not_read(store: RecordStore, make_chunk: MakeChunk) -> None:
    manifest = written(store, make_chunk)
    committed = manifest[:2]
    assert store.read(committed, "steps").num_rows == 30
    assert store.read(manifest, "steps").num_rows == 90


def test_an_abandoned_chunk_of_the_same_name_is_left_alone(store: RecordStore, make_chunk: MakeChunk) -> None:
    first = store.writer("p0", 1)
    first.write(0, 10, make_chunk(["a"], 0, 10))
    second = store.writer("p0", 1)
    second.write(0, 10, make_chunk(["a", "b"], 0, 10))
    assert store.read(first.manifest, "steps").num_rows == 10
    assert store.read(second.manifest, "steps").num_rows == 20


def test_a_resumed_attempt_goes_on_from_the_committed_manifest(store: RecordStore, make_chunk: MakeChunk) -> None:
    before = store.writer("p0", 1)
    before.write(0, 10, make_chunk(["a"], 0, 10))
    after = store.writer("p0", 2, before.manifest)
    after.write(10, 20, make_chunk(["a"], 10, 10))
    assert store.read(after.manifest, "steps")["step"].to_pylist() == list(range(20))


def test_columns_trials_and_steps_can_be_chosen(store: RecordStore, make_chunk: MakeChunk) -> None:
    manifest = written(store, make_chunk)
    read = store.read(
        manifest, "steps", columns=["train_loss", "trial_id"], trial_ids=["c", "a", "no such"], min_step=8, max_step=11
    )
    whole = store.read(manifest, "steps").to_pylist()
    expected = [
        {"trial_id": row["trial_id"], "train_loss": row["train_loss"]}
        for row in whole
        if row["trial_id"] in "ac" and 8 <= row["step"] <= 11
    ]
    assert read.to_pylist() == expected
    assert len(expected) == 8


def test_reading_many_packs_is_reading_each_in_turn(store: RecordStore, make_chunk: MakeChunk) -> None:
    manifests = [written(store, make_chunk, f"p{i}", [f"t{i}", f"u{i}"]) for i in range(6)]
    together = store.read_many(manifests, "steps", trial_ids=["t1", "u4"])
    one_by_one = [store.read(manifest, "steps", trial_ids=["t1", "u4"]).to_pylist() for manifest in manifests]
    np.testing.assert_equal(together.to_pylist(), [row for rows in one_by_one for row in rows])
    assert together["trial_id"].num_chunks == 1


@pytest.mark.parametrize("name", ["steps", "evaluations", "probes", "events", "timings"])
def test_no_rows_is_a_table_of_the_right_columns(store: RecordStore, name: str) -> None:
    assert store.read_many([], name).schema == arrow_schema(name)


def test_an_unknown_column_is_refused_by_name(store: RecordStore, make_chunk: MakeChunk) -> None:
    with pytest.raises(ValueError, match=r"got columns loss, allowed trial_id"):
        store.read(written(store, make_chunk), "steps", columns=["loss"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.pop("lr"), "got columns"),
        (lambda rows: rows.update(step=rows["step"][:-1]), "different lengths"),
        (lambda rows: rows.update(step=rows["step"] + 0.5), "steps.step: got float64"),
        (lambda rows: rows.update(lr=[None] * len(rows["step"])), "steps.lr: got object"),
        (lambda rows: rows.update(lr=np.ones((len(rows["step"]), 1))), "one dimension"),
        (lambda rows: rows.update(trial_id=np.array([None] * len(rows["step"]))), "got None, allowed text"),
    ],
)
def test_rows_that_are_not_of_the_list_are_refused_and_nothing_is_written(
    store: RecordStore, make_chunk: MakeChunk, change: Callable[[dict], object], message: str
) -> None:
    rows = make_chunk(["a"], 0, 3)["steps"]
    change(rows)
    writer = store.writer("p0", 1)
    with pytest.raises(ValueError, match=message):
        writer.write(0, 3, {"steps": rows})
    assert writer.manifest == ()
    assert files_below(store) == set()


@pytest.mark.parametrize("pack_id", ["", "..", ".hidden", "a/b", "a b", "ä"])
def test_a_pack_id_that_is_no_plain_name_is_refused(store: RecordStore, pack_id: str) -> None:
    with pytest.raises(ValueError, match="pack_id"):
        store.writer(pack_id, 0)


# --- integrity ---


def overwrite(store: RecordStore, name: str, change: Callable[[bytes], bytes]) -> None:
    files, path = fsspec.core.url_to_fs(f"{store.root}/{name}")
    files.pipe_file(path, change(files.cat_file(path)))


def flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]


@pytest.mark.parametrize("place", [0.0, 0.3, 0.7, 0.999])
def test_one_flipped_bit_is_found_and_the_file_named(store: RecordStore, make_chunk: MakeChunk, place: float) -> None:
    manifest = written(store, make_chunk)
    overwrite(store, manifest[0].name, lambda data: flipped(data, int(place * len(data))))
    with pytest.raises(CorruptRecord, match=manifest[0].name):
        store.read(manifest, "steps")


def test_a_torn_segment_is_found(store: RecordStore, make_chunk: MakeChunk) -> None:
    manifest = written(store, make_chunk)
    overwrite(store, manifest[2].name, lambda data: data[: len(data) // 2])
    with pytest.raises(CorruptRecord, match=r"10-20.*not those that were committed"):
        store.read(manifest, "steps")


def test_a_missing_segment_is_an_error_not_fewer_rows(store: RecordStore, make_chunk: MakeChunk) -> None:
    manifest = written(store, make_chunk)
    store.delete(manifest[:1])
    with pytest.raises(CorruptRecord, match="missing"):
        store.read_many([manifest], "steps")


def test_a_manifest_with_another_row_count_is_found(store: RecordStore, make_chunk: MakeChunk) -> None:
    segment = written(store, make_chunk)[0]
    with pytest.raises(CorruptRecord, match="got 30 rows, manifest 31"):
        store.read((replace(segment, num_rows=31),), "steps")


def test_bytes_of_another_table_are_found(store: RecordStore, make_chunk: MakeChunk) -> None:
    events = next(segment for segment in written(store, make_chunk) if segment.table == "events")
    with pytest.raises(CorruptRecord, match="no Parquet file of probes"):
        store.read((replace(events, table="probes"),), "probes")


# --- compaction ---


def test_compaction_is_concatenation_sorted_by_slot_and_step(store: RecordStore, make_chunk: MakeChunk) -> None:
    old = written(store, make_chunk)
    new = store.compact("p0", 1, old)
    slot = {"b": 0, "a": 1, "c": 2}
    expected = sorted(store.read(old, "steps").to_pylist(), key=lambda row: (slot[row["trial_id"]], row["step"]))
    assert [segment.table for segment in new] == ["steps", "events"]
    np.testing.assert_equal(store.read(new, "steps").to_pylist(), expected)
    assert store.read(new, "events")["step"].to_pylist() == [0, 10, 20]


def test_compaction_takes_the_slot_order_it_is_given(store: RecordStore, make_chunk: MakeChunk) -> None:
    new = store.compact("p0", 1, written(store, make_chunk), trial_ids=["a", "b", "c"])
    assert store.read(new, "steps")["trial_id"].to_pylist()[::30] == ["a", "b", "c"]


def test_compaction_gives_the_same_bytes_however_the_rows_were_cut(store: RecordStore, make_chunk: MakeChunk) -> None:
    whole = store.writer("p1", 1)
    rows = make_chunk(["a", "b"], 0, 20)["steps"]
    whole.write(0, 20, {"steps": rows})
    cut = store.writer("p2", 1)
    for piece in (slice(0, 6), slice(6, 8), slice(8, 40)):
        cut.write(0, 20, {"steps": {name: column[piece] for name, column in rows.items()}})
    [from_whole], [from_cut] = store.compact("p1", 1, whole.manifest), store.compact("p2", 1, cut.manifest)
    assert from_whole.sha256 == from_cut.sha256


def test_compaction_deletes_nothing_until_it_is_told(store: RecordStore, make_chunk: MakeChunk) -> None:
    old = written(store, make_chunk)
    new = store.compact("p0", 1, old)
    assert store.read(old, "steps").num_rows == store.read(new, "steps").num_rows
    store.delete(old)
    store.delete(old)
    assert store.read(new, "steps").num_rows == 90
    assert files_below(store) == {segment.name for segment in new}


def test_compacting_again_never_takes_a_name_of_its_input(store: RecordStore, make_chunk: MakeChunk) -> None:
    once = store.compact("p0", 1, written(store, make_chunk))
    twice = store.compact("p0", 1, once)
    assert {a.name for a in once}.isdisjoint(b.name for b in twice)
    assert [a.sha256 for a in once] == [b.sha256 for b in twice]


def test_only_a_pack_of_several_chunks_needs_compaction(store: RecordStore, make_chunk: MakeChunk) -> None:
    old = written(store, make_chunk)
    assert needs_compaction(old)
    assert not needs_compaction(old[:2])
    assert not needs_compaction(store.compact("p0", 1, old))


def test_sweeping_a_final_pack_leaves_its_record_and_nothing_else(store: RecordStore, make_chunk: MakeChunk) -> None:
    abandoned = store.writer("p0", 0)
    abandoned.write(0, 10, make_chunk(["a"], 0, 10))
    store.save_checkpoint("p0", 1, 10, {"position": 10})
    manifest = written(store, make_chunk)
    neighbour = written(store, make_chunk, "p01")
    assert store.sweep("p0", manifest) == 3
    assert files_below(store) == {segment.name for segment in (*manifest, *neighbour)}


def test_a_place_can_be_tried_without_a_trace(store: RecordStore) -> None:
    store.check_writable()
    assert files_below(store) == set()


# --- properties ---

FLOATS = st.floats(width=64)
IDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
ROWS = st.lists(
    st.tuples(IDS, st.integers(-(2**63), 2**63 - 1), FLOATS, FLOATS, FLOATS, FLOATS), min_size=1, max_size=30
)


def columns_of(rows: list[tuple]) -> dict[str, np.ndarray]:
    columns = dict(zip(records.names("steps"), zip(*rows, strict=True), strict=True))
    return {
        "trial_id": np.array(columns["trial_id"], dtype=object),  # numpy's own text type drops trailing NULs
        "step": np.array(columns["step"], dtype=np.int64),
        **{name: np.array(columns[name], dtype=np.float64) for name in records.names("steps")[2:]},
    }


@settings(max_examples=60, deadline=None)
@given(chunks=st.lists(ROWS, min_size=1, max_size=3))
def test_any_text_and_any_number_comes_back_bit_for_bit(chunks: list[list[tuple]]) -> None:
    store = RecordStore(f"memory://{uuid4().hex}")
    writer = store.writer("p", 0)
    for index, rows in enumerate(chunks):
        writer.write(index, index + 1, {"steps": columns_of(rows)})
    read = store.read(manifest_from_json(manifest_to_json(writer.manifest)), "steps")
    expected = columns_of([row for rows in chunks for row in rows])
    assert read["trial_id"].to_pylist() == expected["trial_id"].tolist()
    for name in records.names("steps")[1:]:
        assert read[name].to_numpy().tobytes() == expected[name].tobytes()


@settings(max_examples=40, deadline=None)
@given(rows=ROWS)
def test_compaction_keeps_every_row(rows: list[tuple]) -> None:
    store = RecordStore(f"memory://{uuid4().hex}")
    writer = store.writer("p", 0)
    for index, row in enumerate(rows):
        writer.write(index, index + 1, {"steps": columns_of([row])})
    read = store.read(store.compact("p", 0, writer.manifest), "steps").to_pylist()
    first_seen = list(dict.fromkeys(row[0] for row in rows))
    expected = sorted(rows, key=lambda row: (first_seen.index(row[0]), row[1]))
    np.testing.assert_equal([tuple(row.values()) for row in read], expected)
