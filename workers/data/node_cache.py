"""A data set once per node: the first trainer writes its arrays into files, all map them into memory, read-only.

A file's pages are in memory once, however many processes map them. The files lie in a folder of this user's own, which
is named by the set's sha256. Every process checks that before it uses them: other bytes are refused, and made anew from
the data directory.
"""

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from workers.data.arrays import DatasetArrays, frozen_arrays
from workers.data.sets import LOADERS, Arrays, load
from workers.data.texts import PARTS, TextArrays, frozen_text

if TYPE_CHECKING:
    from schemas.workloads import Dataset, Text

log = logging.getLogger("warmup_bench.data")

SAID, TEXT = "set.json", "text"


def node_cache() -> Path | None:
    """The folder that this user's trainers share on this node; made where there is none, None where none can be.

    It is of this process's home where the environment names one, else of the system's temporary folder.
    """
    home = os.environ.get("WARMUP_BENCH_HOME")
    folder = Path(home) / "cache" if home else Path(tempfile.gettempdir()) / f"warmup-bench-data-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        is_ours = not folder.is_symlink() and folder.stat().st_uid == os.getuid()
    except OSError as error:
        log.warning("%s: %s; each trainer of this node keeps data sets for itself", folder, error)
        return None
    if not is_ours:
        log.warning("%s belongs to another user; each trainer of this node keeps data sets for itself", folder)
    return folder if is_ours else None


def load_once_per_node(dataset: "Dataset | Text", data_dir: Path | None, sha256: str, cache: Path) -> Arrays:
    """What `load` gives, mapped from the files of this node.

    Args:
        sha256: of the set that the study was made with.

    Raises:
        As `load`. Where the data directory has another set than `sha256` says, that one is returned, as `load` would.
    """
    try:
        shared = _mapped_once(dataset.kind, data_dir, sha256, cache)
    except OSError as error:
        log.warning("%s: %s; this trainer keeps the data set for itself", cache, error)
        shared = None
    return shared or load(dataset, data_dir)


@lru_cache(maxsize=8)
def _mapped_once(kind: str, data_dir: Path | None, sha256: str, cache: Path) -> Arrays | None:
    folder = cache / sha256
    with _lock(cache / f"{sha256}.lock"):
        if (arrays := _mapped(folder, sha256)) is not None:
            return arrays
        if folder.exists():
            log.warning("%s: other bytes than its name says; made anew from the data directory", folder)
            shutil.rmtree(folder)
        loaded = LOADERS[kind](data_dir)
        if loaded.sha256 != sha256:
            return None
        _write(folder, loaded)
    return _mapped(folder, sha256)


def _mapped(folder: Path, sha256: str) -> Arrays | None:
    """The set of a folder; None where it is not there whole, or not the one that it should be."""
    try:
        said = _read(folder)
        found = _text(folder, said) if said["pixels"] == TEXT else _images(folder, said)
    except (OSError, ValueError, TypeError, KeyError, EOFError):
        return None
    return found if found.sha256 == sha256 else None


def _read(folder: Path) -> dict[str, Any]:
    # What is not in the arrays is not in their hash: it has one of its own.
    text, digest = (folder / SAID).read_text(encoding="utf-8").splitlines()
    if _digest(text) != digest:
        raise ValueError(f"{folder / SAID}: other bytes than were written")
    said: dict[str, Any] = json.loads(text)
    return said


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _text(folder: Path, said: dict[str, Any]) -> TextArrays:
    return frozen_text(_array(folder, "tokens"), said["num_classes"], said["source"])


def _images(folder: Path, said: dict[str, Any]) -> DatasetArrays:
    pixels = None if said["pixels"] is None else (tuple(said["pixels"][0]), tuple(said["pixels"][1]))
    splits = {part: (_array(folder, f"{part}_x"), _array(folder, f"{part}_y")) for part in PARTS}
    return frozen_arrays(splits, said["num_classes"], said["source"], pixels)


def _array(folder: Path, name: str) -> np.ndarray:
    return np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)


def _write(folder: Path, arrays: Arrays) -> None:
    partial = folder.with_name(f".{folder.name}.{uuid4().hex}")
    partial.mkdir(mode=0o700)
    said: dict[str, Any] = {"num_classes": arrays.num_classes, "source": arrays.source}
    if isinstance(arrays, TextArrays):
        said["pixels"] = TEXT
        whole = {"tokens": np.concatenate([getattr(arrays, part) for part in PARTS])}
    else:
        said["pixels"] = arrays.pixels
        whole = {f"{part}_{axis}": getattr(arrays, f"{part}_{axis}") for part in PARTS for axis in "xy"}
    try:
        for name, array in whole.items():
            np.save(partial / f"{name}.npy", array, allow_pickle=False)
        text = json.dumps(said)
        (partial / SAID).write_text(f"{text}\n{_digest(text)}\n", encoding="utf-8")
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
