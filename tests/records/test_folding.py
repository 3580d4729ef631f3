"""The manifest of an open pack stays short, however long the pack trains, and folding changes no row of it."""

import json
import math
from collections import Counter

import numpy as np
import pytest

from workers.records import Manifest, RecordStore, manifest_to_json, up_to

NUM_CHECKPOINTS = 40
CHUNKS_BETWEEN = 3


def day_long(store: RecordStore, make_chunk) -> tuple[list[Manifest], Manifest, int]:
    """The manifest after every fold of a long pack, all chunks as they were written, and how many rows were written."""
    plain, folded, manifests, written = store.writer("plain", 1), store.writer("long", 1), [], 0
    for number in range(NUM_CHECKPOINTS * CHUNKS_BETWEEN):
        chunk = make_chunk(["b", "a"], 2 * number, 2)
        plain.write(2 * number, 2 * number + 1, chunk)
        written += sum(segment.num_rows for segment in folded.write(2 * number, 2 * number + 1, chunk))
        if number % CHUNKS_BETWEEN == CHUNKS_BETWEEN - 1:
            old = folded.manifest
            new = store.fold("long", 1, old)
            store.delete(old, keep=new)
            written += sum(segment.num_rows for segment in new if segment not in old)
            folded = store.writer("long", 1, new)
            manifests.append(new)
    return manifests, plain.manifest, written


@pytest.mark.slow
def test_a_manifest_grows_with_the_logarithm_of_the_turns(store: RecordStore, make_chunk) -> None:
    manifests, plain, written = day_long(store, make_chunk)
    most_per_table = max(max(Counter(ref.table for ref in manifest).values()) for manifest in manifests)
    assert most_per_table <= 1 + math.log2(NUM_CHECKPOINTS)
    assert len(manifest_to_json(manifests[-1])) < len(manifest_to_json(plain)) / 20
    num_rows = sum(segment.num_rows for segment in plain)
    assert written <= num_rows * (2 + math.log2(NUM_CHECKPOINTS)), "rows were written again too often"


@pytest.mark.slow
def test_folded_records_hold_the_rows_as_they_were_written(store: RecordStore, make_chunk) -> None:
    manifests, plain, _ = day_long(store, make_chunk)
    for table in ("steps", "events"):
        read, expected = store.read(manifests[-1], table), store.read(plain, table)
        np.testing.assert_equal(read.to_pylist(), expected.to_pylist())


@pytest.mark.slow
def test_compaction_gives_the_same_bytes_of_folded_records(store: RecordStore, make_chunk) -> None:
    manifests, plain, _ = day_long(store, make_chunk)
    assert [ref.sha256 for ref in store.compact("long", 1, manifests[-1])] == [
        ref.sha256 for ref in store.compact("plain", 1, plain)
    ]


def test_what_is_folded_stays_until_it_is_deleted(store: RecordStore, make_chunk) -> None:
    writer = store.writer("p0", 1)
    for first in (0, 10):
        writer.write(first, first + 9, make_chunk(["a"], first, 10))
    old = writer.manifest
    before = store.save_checkpoint("p0", 1, 20, {"position": 20}, old)
    new = store.fold("p0", 1, old)
    assert up_to(old, before) == old, "a driver that dies before the commit resumes from what was there"
    assert store.read(old, "steps").num_rows == store.read(new, "steps").num_rows == 20
    assert up_to(new, store.save_checkpoint("p0", 1, 20, {"position": 20}, new)) == new


def test_a_record_of_one_chunk_is_left_as_it_is(store: RecordStore, make_chunk) -> None:
    writer = store.writer("p0", 1)
    writer.write(0, 9, make_chunk(["a"], 0, 10))
    assert store.fold("p0", 1, writer.manifest) == writer.manifest
    assert store.fold("p0", 1, ()) == ()


def test_a_folded_segment_says_which_steps_it_covers(store: RecordStore, make_chunk) -> None:
    writer = store.writer("p0", 1)
    for first in (0, 10, 20):
        writer.write(first, first + 9, make_chunk(["a"], first, 10))
    rows = json.loads(manifest_to_json(store.fold("p0", 1, writer.manifest)))
    assert [(row["table"], row["first_step"], row["last_step"]) for row in rows] == [
        ("steps", 0, 29),
        ("events", 0, 29),
    ]
