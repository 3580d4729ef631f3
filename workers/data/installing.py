"""Puts a set into the data directory in one move, with a record of where it came from and of its bytes."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from schemas.errors import PlaceError
from workers.data.converting import Content
from workers.data.download import file_sha256

RECORD = "source.json"
"""In a set's folder: where its files came from, and their sha256."""
INCOMING = ".incoming"
"""In the data directory: what is on its way, by set."""


@contextmanager
def incoming(data_dir: Path, name: str) -> Iterator[Path]:
    """A folder for what is on its way, for one command at a time; a move that was cut short is ended first.

    Raises:
        PlaceError: the data directory cannot be written, is full, or another command brings the same set.
    """
    folder = data_dir / INCOMING / name
    with says_place(data_dir):
        folder.mkdir(parents=True, exist_ok=True)
        with (data_dir / INCOMING / f"{name}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise PlaceError(f"--data {data_dir}: another command is bringing {name} now; wait for it") from None
            _end_a_move(data_dir, name)
            yield folder


@contextmanager
def says_place(data_dir: Path) -> Iterator[None]:
    """What the system says against the data directory, with what to do."""
    try:
        yield
    except OSError as error:
        raise PlaceError(
            f"--data {data_dir}: {error.strerror or error}; free some space there, or name another folder"
            " (--data, WARMUP_BENCH_DATA)"
        ) from error


def install(data_dir: Path, name: str, files: Mapping[str, Content], said: Mapping[str, Any]) -> Path:
    """Write the files of a set, then put them in place of whatever stood there. Returns the set's folder.

    Args:
        said: what the record tells beside the files' bytes.

    Raises:
        OSError: the disk does not take it; what stood there stands.
    """
    new = _new(data_dir, name)
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        for file, content in files.items():
            _write(new / file, content)
        record = {
            "set": name,
            "files": {
                file: {"bytes": (new / file).stat().st_size, "sha256": file_sha256(new / file)}
                for file in sorted(files)
            },
            **said,
            "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        _write_text(new / RECORD, json.dumps(record, indent=2) + "\n")
        _swap(data_dir, name)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    return data_dir / name


def recorded(folder: Path) -> dict[str, str]:
    """File -> sha256 as the record of a set's folder says; empty where there is none, or none that can be read."""
    try:
        files = json.loads((folder / RECORD).read_text(encoding="utf-8"))["files"]
        return {str(file): str(said["sha256"]) for file, said in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _new(data_dir: Path, name: str) -> Path:
    return data_dir / INCOMING / f"{name}.new"


def _old(data_dir: Path, name: str) -> Path:
    return data_dir / INCOMING / f"{name}.old"


def _swap(data_dir: Path, name: str) -> None:
    final, old = data_dir / name, _old(data_dir, name)
    if final.exists() or final.is_symlink():
        final.rename(old)
    _new(data_dir, name).rename(final)
    _remove(old)


def _end_a_move(data_dir: Path, name: str) -> None:
    final, old = data_dir / name, _old(data_dir, name)
    if (old.exists() or old.is_symlink()) and not final.exists():
        old.rename(final)
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


def _write(path: Path, content: Content) -> None:
    if isinstance(content, Path):
        shutil.copyfile(content, path)
        _to_disk(path)
        return
    with path.open("wb") as file:
        np.savez_compressed(file, **content)  # type: ignore[arg-type]
        file.flush()
        os.fsync(file.fileno())


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")
    _to_disk(path)


def _to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
