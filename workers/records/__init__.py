"""The only reader and writer of record files: segments, the manifests that name them, checkpoints, result tables."""

from workers.records.folder import read_result_table, write_result_table
from workers.records.manifest import (
    CheckpointRef,
    Manifest,
    SegmentRef,
    checkpoint_from_json,
    checkpoint_to_json,
    manifest_from_json,
    manifest_to_json,
    needs_compaction,
    up_to,
)
from workers.records.store import PackWriter, RecordStore
from workers.records.tables import arrow_schema
from workers.records.thinning import thin

__all__ = [
    "CheckpointRef",
    "Manifest",
    "PackWriter",
    "RecordStore",
    "SegmentRef",
    "arrow_schema",
    "checkpoint_from_json",
    "checkpoint_to_json",
    "manifest_from_json",
    "manifest_to_json",
    "needs_compaction",
    "read_result_table",
    "thin",
    "up_to",
    "write_result_table",
]
