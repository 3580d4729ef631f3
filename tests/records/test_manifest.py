"""A manifest survives JSON, and a forged or torn one is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import records
from schemas.errors import CorruptRecord
from workers.records import (
    CheckpointRef,
    SegmentRef,
    checkpoint_from_json,
    checkpoint_to_json,
    manifest_from_json,
    manifest_to_json,
    up_to,
)

COUNTS = st.integers(0, 2**62)
SEGMENTS = st.builds(
    SegmentRef,
    table=st.sampled_from(records.PACK_TABLES),
    name=st.from_regex(r"packs/[a-z0-9]{1,9}/[0-9]/steps/[0-9]{1,4}\.parquet", fullmatch=True),
    sha256=st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
    num_rows=COUNTS,
    num_bytes=COUNTS,
    first_step=COUNTS,
    last_step=COUNTS,
)
CHECKPOINT = CheckpointRef("packs/p/0/checkpoints/20.npz", "0" * 64, 10, 20, "packs/p/0/events/10-20.parquet")


def segment(name: str, table: str = "steps") -> SegmentRef:
    return SegmentRef(table, name, "0" * 64, 1, 1, 0, 1)


@pytest.mark.slow
@given(st.lists(SEGMENTS, max_size=5).map(tuple))
def test_a_manifest_comes_back_from_json(manifest: tuple[SegmentRef, ...]) -> None:
    assert manifest_from_json(manifest_to_json(manifest)) == manifest


def test_a_checkpoint_reference_comes_back_from_json() -> None:
    assert checkpoint_from_json(checkpoint_to_json(CHECKPOINT)) == CHECKPOINT
    without_segment = CheckpointRef("packs/p/0/checkpoints/0.npz", "0" * 64, 10, 0)
    assert checkpoint_from_json(checkpoint_to_json(without_segment)) == without_segment


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[1]",
        '[{"table":"steps"}]',
        manifest_to_json((segment("packs/p/0/steps/0-1.parquet"),))[:-20],
        manifest_to_json((segment("/etc/passwd"),)),
        manifest_to_json((segment("packs/../../secret"),)),
        manifest_to_json((segment(""),)),
        manifest_to_json((segment("x", table="trials"),)),
        manifest_to_json((segment("x"),)).replace('"num_rows":1', '"num_rows":"1"'),
        manifest_to_json((segment("x"),)).replace('"num_rows":1', '"num_rows":true'),
    ],
)
def test_what_is_no_manifest_is_refused(text: str) -> None:
    with pytest.raises(CorruptRecord):
        manifest_from_json(text)


def test_resuming_keeps_the_segments_up_to_the_checkpoint() -> None:
    names = ["packs/p/0/steps/0-10.parquet", "packs/p/0/events/10-20.parquet", "packs/p/0/steps/20-30.parquet"]
    manifest = tuple(segment(name) for name in names)
    assert up_to(manifest, CHECKPOINT) == manifest[:2]


def test_resuming_from_the_very_start_keeps_nothing() -> None:
    at_start = CheckpointRef("packs/p/0/checkpoints/0.npz", "0" * 64, 10, 0)
    assert up_to((segment("packs/p/0/steps/0-10.parquet"),), at_start) == ()


def test_a_checkpoint_of_another_history_is_refused() -> None:
    with pytest.raises(CorruptRecord, match="not in the manifest"):
        up_to((segment("packs/p/1/steps/0-10.parquet"),), CHECKPOINT)
