"""The records of packs: written in chunks, read through manifests, compacted when a pack is done.

Layout below the root: `packs/<pack>/<attempt>/<table>/<first>-<last>.parquet`, `packs/<pack>/<attempt>/checkpoints/`.
"""

import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from itertools import chain, count, islice
from os import PathLike
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schemas import records
from schemas.errors import CorruptRecord, PlaceError
from workers.records import checkpoints, tables
from workers.records.manifest import CheckpointRef, Manifest, SegmentRef, split_for_folding
from workers.records.places import LocalPlace, Place, open_place

READ_THREADS = 8
"""Reads in flight: enough to hide an object store's latency; on a local disk the decoding shares the cores."""
WHOLE_BYTES = 8 << 20
"""A segment of so many bytes is read whole where parts of it are asked for: its sha256 can be checked then."""
_SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=+-]*")


class RecordStore:
    """A place of record files. Opening it touches nothing."""

    def __init__(self, root: str | PathLike[str], *, durable: bool = True) -> None:
        """`root`: a local path or an fsspec URL. `durable`: wait until local bytes are on the disk (fsync)."""
        self._place: Place = open_place(root, durable=durable)
        self.root = self._place.root

    def writer(self, pack_id: str, attempt: int, manifest: Manifest = ()) -> "PackWriter":
        """A writer that adds to `manifest`, which a resumed attempt takes from its predecessor."""
        return PackWriter(self._place, _folder(pack_id, attempt), manifest)

    def read(
        self,
        manifest: Manifest,
        table: str,
        *,
        columns: Sequence[str] | None = None,
        trial_ids: Collection[str] | None = None,
        min_step: int | None = None,
        max_step: int | None = None,
    ) -> pa.Table:
        """The rows of `table` that `manifest` names, in the order they were written.

        Columns come in the order of schemas.records; trial_id is dictionary-encoded; steps are bounded inclusively.

        Raises:
            CorruptRecord: a segment is missing, or its bytes are not those of the manifest.
            PlaceError: the place cannot be read.
        """
        return self.read_many(
            [manifest], table, columns=columns, trial_ids=trial_ids, min_step=min_step, max_step=max_step
        )

    def read_many(
        self,
        manifests: Iterable[Manifest],
        table: str,
        *,
        columns: Sequence[str] | None = None,
        trial_ids: Collection[str] | None = None,
        min_step: int | None = None,
        max_step: int | None = None,
    ) -> pa.Table:
        """As `read`, over many packs: one table, in the order of the manifests, one dictionary of trial ids."""
        parts = self.iter_many(
            manifests, table, columns=columns, trial_ids=trial_ids, min_step=min_step, max_step=max_step
        )
        schema = _selected(table, columns)
        return pa.concat_tables([schema.empty_table(), *parts]).unify_dictionaries().combine_chunks()

    def iter_many(
        self,
        manifests: Iterable[Manifest],
        table: str,
        *,
        columns: Sequence[str] | None = None,
        trial_ids: Collection[str] | None = None,
        min_step: int | None = None,
        max_step: int | None = None,
    ) -> Iterator[pa.Table]:
        """As `read_many`, one table per segment, so that a study larger than memory can be passed on."""
        schema = _selected(table, columns)
        wanted_ids = None if trial_ids is None else frozenset(trial_ids)
        needed = {*schema.names}
        needed |= {"trial_id"} if wanted_ids is not None else set()
        needed |= {"step"} if min_step is not None or max_step is not None else set()

        def rows(segment: SegmentRef) -> pa.Table:
            data = self._decoded(segment, needed)
            kept = tables.only_rows(data, trial_ids=wanted_ids, min_step=min_step, max_step=max_step)
            return kept.select(schema.names)

        segments = (segment for manifest in manifests for segment in manifest if segment.table == table)
        return _in_parallel(rows, segments)

    def compact(
        self, pack_id: str, attempt: int, manifest: Manifest, *, trial_ids: Sequence[str] | None = None
    ) -> Manifest:
        """Write one object per table under a new name, rows sorted by (slot, step). The same rows give the same bytes.

        The caller commits the new manifest and then calls `delete(manifest)`; until then both are readable.
        `trial_ids` is the slot order; by default the order in which the trials first appear.
        """
        parts = {table: self.read(manifest, table) for table in records.PACK_TABLES if _has(manifest, table)}
        slot_order = tuple(trial_ids) if trial_ids is not None else _first_appearances(parts.values())
        writer = PackWriter(self._place, _folder(pack_id, attempt), taken=frozenset(ref.name for ref in manifest))
        first_step = min((segment.first_step for segment in manifest), default=0)
        last_step = max((segment.last_step for segment in manifest), default=0)
        sorted_parts = {table: _sorted(data, slot_order) for table, data in parts.items()}
        writer.write_arrow(f"{first_step}-{last_step}.compact", first_step, last_step, sorted_parts)
        return writer.manifest

    def fold(self, pack_id: str, attempt: int, manifest: Manifest) -> Manifest:
        """Merge the newest segments of an open pack, so that its manifest stays short (see `split_for_folding`).

        Rows keep the order in which they were written. As with `compact`, the caller commits the new manifest, together
        with a checkpoint that was saved after it, and only then deletes what it replaces.

        Raises:
            CorruptRecord: a segment is not what its manifest says. PlaceError: the place cannot be read or written.
        """
        writer = PackWriter(self._place, _folder(pack_id, attempt), taken=frozenset(ref.name for ref in manifest))
        folded: Manifest = ()
        for table in records.PACK_TABLES:
            kept, newest = split_for_folding(tuple(segment for segment in manifest if segment.table == table))
            if len(newest) > 1:
                first, last = newest[0].first_step, newest[-1].last_step
                rows = {table: self.read(newest, table)}
                newest = writer.write_arrow(f"{first}-{last}.folded", first, last, rows)
            folded += kept + newest
        return folded

    def delete(self, manifest: Iterable[SegmentRef | CheckpointRef], *, keep: Manifest = ()) -> None:
        """Delete what `manifest` names and `keep` does not; what is gone already is no error."""
        kept = {segment.name for segment in keep}
        for segment in manifest:
            if segment.name not in kept:
                self._place.delete(segment.name)

    def sweep(self, pack_id: str, keep: Manifest, checkpoint: CheckpointRef | None = None) -> int:
        """Delete what a final pack left behind: segments that were never committed, temporary files, checkpoints.

        Only for a pack that nobody writes any more. Returns how many objects went.
        """
        kept = {segment.name for segment in keep} | ({checkpoint.name} if checkpoint else set())
        folder = f"packs/{_checked(pack_id)}"
        leftovers = [name for name in self._place.names_below(folder) if name not in kept]
        for name in leftovers:
            self._place.delete(name)
        if isinstance(self._place, LocalPlace):
            self._place.remove_empty_folders(folder)
        return len(leftovers)

    def save_checkpoint(
        self, pack_id: str, attempt: int, step: int, state: Mapping[str, object], manifest: Manifest = ()
    ) -> CheckpointRef:
        """Store a loop's whole state: arrays, JSON scalars, nested lists and mappings of them.

        `manifest` is the record as of this step: the reference names its last segment (see `manifest.up_to`).

        Raises:
            TypeError: a value that is none of these. PlaceError: the place cannot be written.
        """
        data = checkpoints.encode(state)
        name = _put_once(self._place, f"{_folder(pack_id, attempt)}/checkpoints/{step}", ".npz", data)
        last_segment = manifest[-1].name if manifest else None
        return CheckpointRef(name, hashlib.sha256(data).hexdigest(), len(data), step, last_segment)

    def load_checkpoint(self, checkpoint: CheckpointRef) -> dict[str, object]:
        """The state that was saved, bit for bit. Raises CorruptRecord where the bytes are not those saved."""
        return checkpoints.decode(self._verified(checkpoint))

    def check_writable(self) -> None:
        """Write, read and delete a small object. Raises PlaceError where that fails."""
        name = _put_once(self._place, "writable", ".token", b"token")
        self._place.get(name)
        self._place.delete(name)

    @contextmanager
    def open_segment(self, segment: SegmentRef) -> Iterator[pq.ParquetFile]:
        """A segment to read parts of. A small one is verified whole; of a large one, only what is read is fetched.

        Raises:
            CorruptRecord: it is missing, or is not what its manifest says (also where it turns out within the block).
            PlaceError: the place cannot be read.
        """
        with ExitStack() as opened:
            source = opened.enter_context(self._source(segment))
            try:
                file = opened.enter_context(pq.ParquetFile(source, read_dictionary=["trial_id"]))
                if file.metadata.num_rows != segment.num_rows:
                    raise ValueError(f"got {file.metadata.num_rows} rows, manifest {segment.num_rows}")
                yield file
            except (pa.ArrowException, OSError, KeyError, ValueError) as error:
                raise CorruptRecord(
                    f"{self.root}/{segment.name}: no Parquet file of {segment.table}: {error}"
                ) from error

    def _source(self, segment: SegmentRef) -> AbstractContextManager[Any]:
        if segment.num_bytes <= WHOLE_BYTES:
            return pa.BufferReader(self._verified(segment))  # type: ignore[no-any-return]
        try:
            return self._place.open(segment.name)
        except FileNotFoundError as error:
            raise self._missing(segment) from error

    def _missing(self, ref: SegmentRef | CheckpointRef) -> CorruptRecord:
        return CorruptRecord(
            f"{self.root}/{ref.name}: missing, though its manifest was committed;"
            " where records lie elsewhere, say so with --records"
        )

    def _verified(self, ref: SegmentRef | CheckpointRef) -> bytes:
        try:
            data = self._place.get(ref.name)
        except FileNotFoundError as error:
            raise self._missing(ref) from error
        found = hashlib.sha256(data).hexdigest()
        if found != ref.sha256:
            raise CorruptRecord(
                f"{self.root}/{ref.name}: its bytes are not those that were committed"
                f" (sha256: got {found}, manifest {ref.sha256}; bytes: got {len(data)}, manifest {ref.num_bytes})"
            )
        return data

    def _decoded(self, segment: SegmentRef, columns: Collection[str]) -> pa.Table:
        data = self._verified(segment)
        try:
            decoded = tables.decode(segment.table, data, tuple(columns))
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            raise CorruptRecord(f"{self.root}/{segment.name}: no Parquet file of {segment.table}: {error}") from error
        if decoded.num_rows != segment.num_rows:
            raise CorruptRecord(f"{self.root}/{segment.name}: got {decoded.num_rows} rows, manifest {segment.num_rows}")
        return decoded


class PackWriter:
    """Adds one immutable segment per non-empty table and chunk. Not for use by several threads."""

    def __init__(self, place: Place, folder: str, manifest: Manifest = (), taken: frozenset[str] = frozenset()) -> None:
        self._place = place
        self._folder = folder
        self._manifest = manifest
        self._taken = taken

    @property
    def manifest(self) -> Manifest:
        """Every segment so far, those of the attempt before included. It counts once it is committed to the ledger."""
        return self._manifest

    def write(self, first_step: int, last_step: int, chunk: Mapping[str, tables.Columns]) -> Manifest:
        """Write the chunk's tables; returns the new segments. All of them are in the manifest afterwards, or none.

        Raises:
            ValueError: not the columns of schemas.records. PlaceError: the place is full or cannot be written.
        """
        filled = {
            table: tables.to_arrow(table, columns)
            for table, columns in chunk.items()
            if tables.num_rows(table, columns)
        }
        return self.write_arrow(f"{first_step}-{last_step}", first_step, last_step, filled)

    def write_arrow(self, stem: str, first_step: int, last_step: int, chunk: Mapping[str, pa.Table]) -> Manifest:
        """As `write`, for tables that have their types already, under the name `stem`."""
        written: list[SegmentRef] = []
        try:
            for table, rows in chunk.items():
                data = tables.encode(rows)
                name = _put_once(self._place, f"{self._folder}/{table}/{stem}", ".parquet", data, self._taken)
                sha256 = hashlib.sha256(data).hexdigest()
                written.append(SegmentRef(table, name, sha256, rows.num_rows, len(data), first_step, last_step))
        except BaseException:
            for segment in written:
                with suppress(PlaceError):  # the first error is the one to tell
                    self._place.delete(segment.name)
            raise
        self._manifest = (*self._manifest, *written)
        return tuple(written)


def _put_once(place: Place, stem: str, suffix: str, data: bytes, taken: Collection[str] = frozenset()) -> str:
    """Store under `stem + suffix`, or the next free name: an attempt that was cut short may have left one behind."""
    for number in count():
        name = f"{stem}{suffix}" if number == 0 else f"{stem}.{number}{suffix}"
        if name in taken:
            continue
        try:
            place.put_new(name, data)
        except FileExistsError:
            continue
        return name
    raise AssertionError("count() does not end")


def _folder(pack_id: str, attempt: int) -> str:
    return f"packs/{_checked(pack_id)}/{int(attempt)}"


def _checked(pack_id: str) -> str:
    if not _SAFE_ID.fullmatch(pack_id):
        raise ValueError(f"pack_id: got {pack_id!r}, allowed letters, digits and . _ = + - (no first dot)")
    return pack_id


def _selected(table: str, columns: Sequence[str] | None) -> pa.Schema:
    schema = tables.arrow_schema(table)
    if columns is None:
        return schema
    unknown = [name for name in columns if name not in schema.names]
    if unknown:
        raise ValueError(f"{table}: got columns {', '.join(unknown)}, allowed {', '.join(schema.names)}")
    return pa.schema([field for field in schema if field.name in columns])


def _has(manifest: Manifest, table: str) -> bool:
    return any(segment.table == table for segment in manifest)


def _in_parallel(work: Callable[[SegmentRef], pa.Table], segments: Iterable[SegmentRef]) -> Iterator[pa.Table]:
    """`map` with a bounded number in flight, results in order."""
    segments = iter(segments)
    ahead = list(islice(segments, 2))
    if len(ahead) < 2:  # one pack's table is mostly one segment: no thread is worth it
        yield from map(work, ahead)
        return
    segments = chain(ahead, segments)
    with ThreadPoolExecutor(READ_THREADS, thread_name_prefix="records") as pool:
        waiting = [pool.submit(work, segment) for segment in islice(segments, READ_THREADS)]
        while waiting:
            done = waiting.pop(0).result()
            waiting.extend(pool.submit(work, segment) for segment in islice(segments, 1))
            yield done


def _first_appearances(parts: Iterable[pa.Table]) -> tuple[str, ...]:
    found = (pc.unique(part["trial_id"].cast(pa.string())).to_pylist() for part in parts)
    return tuple(dict.fromkeys(chain.from_iterable(found)))


def _sorted(data: pa.Table, slot_order: Sequence[str]) -> pa.Table:
    slots = pc.index_in(data["trial_id"].cast(pa.string()), value_set=pa.array(slot_order, pa.string()))
    keys = [slots.fill_null(len(slot_order)).to_numpy()]
    if "step" in data.column_names:
        keys.insert(0, data["step"].to_numpy())
    rows = data.take(pa.array(np.lexsort(keys)))  # stable: rows of one trial and step keep their order
    # Decoded and encoded again, so that the dictionary, and with it the bytes, depends on the rows alone.
    ids = rows["trial_id"].cast(pa.string()).combine_chunks().dictionary_encode()
    return rows.set_column(0, data.schema.field(0), ids).combine_chunks()
