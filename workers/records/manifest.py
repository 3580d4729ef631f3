"""What a pack's record consists of: the segments and the checkpoint that count, by name and sha256.

A file that no manifest names does not exist. Manifests only grow (writer), shrink to a prefix (resume at a checkpoint)
or are replaced as a whole (folding while a pack is open, compaction at its end).
"""

import json
from collections import Counter
from dataclasses import asdict, dataclass, fields
from pathlib import PurePosixPath
from typing import Any, TypeVar

from schemas import records
from schemas.errors import CorruptRecord


@dataclass(frozen=True)
class SegmentRef:
    """One immutable Parquet object: `num_rows` rows of `table` of one pack."""

    table: str
    name: str
    """Path below the store's root, `/` between parts."""
    sha256: str
    num_rows: int
    num_bytes: int
    first_step: int
    last_step: int
    """The chunk that was written, as its trainer numbered it (both ends as given to `PackWriter.write`)."""


@dataclass(frozen=True)
class CheckpointRef:
    """The state of a pack's loop at `step`, and the last segment that was part of the record by then."""

    name: str
    sha256: str
    num_bytes: int
    step: int
    last_segment: str | None = None


Manifest = tuple[SegmentRef, ...]


def up_to(manifest: Manifest, checkpoint: CheckpointRef) -> Manifest:
    """The part of `manifest` that was written when `checkpoint` was saved: what a resumed attempt starts from.

    Raises:
        CorruptRecord: the checkpoint's last segment is not in the manifest, so the two are not of one history.
    """
    if checkpoint.last_segment is None:
        return ()
    for index, segment in enumerate(manifest):
        if segment.name == checkpoint.last_segment:
            return manifest[: index + 1]
    raise CorruptRecord(f"{checkpoint.name}: its last segment {checkpoint.last_segment} is not in the manifest")


def split_for_folding(segments: Manifest) -> tuple[Manifest, Manifest]:
    """One table's segments, oldest first, as (those that stay, the newest ones that are to become one).

    Every one that stays has at least twice the rows of all that follow it, so about log2(rows) stay however many are
    written, and a row is written again as often at most.
    """
    first = max(0, len(segments) - 1)
    num_rows = sum(segment.num_rows for segment in segments[first:])
    while first > 0 and segments[first - 1].num_rows < 2 * num_rows:
        first -= 1
        num_rows += segments[first].num_rows
    return segments[:first], segments[first:]


def needs_compaction(manifest: Manifest) -> bool:
    """Whether some table of the pack is in more than one object; compaction of the rest would only cost time."""
    return any(count > 1 for count in Counter(segment.table for segment in manifest).values())


def manifest_to_json(manifest: Manifest) -> str:
    """One line of JSON, the same for equal manifests."""
    return json.dumps([asdict(segment) for segment in manifest], separators=(",", ":"))


def manifest_from_json(text: str) -> Manifest:
    """The inverse of `manifest_to_json`. Raises CorruptRecord for anything else."""
    rows = _parsed(text)
    if not isinstance(rows, list):
        raise CorruptRecord("manifest: not a list of segments")
    return tuple(_checked_segment(_from_row(SegmentRef, row)) for row in rows)


def checkpoint_to_json(checkpoint: CheckpointRef) -> str:
    """One line of JSON."""
    return json.dumps(asdict(checkpoint), separators=(",", ":"))


def checkpoint_from_json(text: str) -> CheckpointRef:
    """The inverse of `checkpoint_to_json`. Raises CorruptRecord for anything else."""
    checkpoint = _from_row(CheckpointRef, _parsed(text))
    _check_name(checkpoint.name)
    return checkpoint


Ref = TypeVar("Ref", SegmentRef, CheckpointRef)


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise CorruptRecord(f"manifest: no JSON ({error})") from error


def _from_row(kind: type[Ref], row: Any) -> Ref:
    expected = {field.name: field.type for field in fields(kind)}
    if not isinstance(row, dict) or set(row) != set(expected):
        raise CorruptRecord(f"manifest: got {row!r}, allowed an object with {', '.join(expected)}")
    for name, value in row.items():
        if not isinstance(value, expected[name]) or isinstance(value, bool):  # type: ignore[arg-type]
            raise CorruptRecord(f"manifest: {name}: got {value!r}")
    return kind(**row)


def _checked_segment(segment: SegmentRef) -> SegmentRef:
    if segment.table not in records.PACK_TABLES:
        raise CorruptRecord(f"{segment.name}: no table is called {segment.table!r}")
    _check_name(segment.name)
    return segment


def _check_name(name: str) -> None:
    # A manifest may come from a database that others can write to: it must not lead out of the store.
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not name:
        raise CorruptRecord(f"manifest: {name!r} is no path below the store")
