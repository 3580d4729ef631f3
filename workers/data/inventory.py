"""Every known set: whether it is here, whether its files are the right ones, its licence and how to get it."""

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from schemas.errors import DataMissing
from workers.data.digits import SHA256 as DIGITS_SHA256
from workers.data.digits import load_digits, own_npz, packaged_csv
from workers.data.pydoc import load_pydoc
from workers.data.sets import LOADERS
from workers.data.tinyshakespeare import FILE as TINYSHAKESPEARE
from workers.data.tinyshakespeare import FILE_SHA256 as TINYSHAKESPEARE_SHA256


@dataclass(frozen=True)
class SetStatus:
    """One line of `data list`."""

    name: str
    state: Literal["present", "missing"]
    num_bytes: int
    """Of its files on this machine."""
    sha256_ok: bool | None
    """Whether the files are the known ones; None: missing, or not checked."""
    licence: str
    get: str
    """What to do, or run, to have it."""
    used_by: str
    """`workloads` where a study can name it today; else empty."""

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dictionary."""
        return asdict(self)


@dataclass(frozen=True)
class KnownFiles:
    """A set that lies in the data directory as files: path below it -> sha256."""

    licence: str
    sha256: dict[str, str]


FILES: dict[str, KnownFiles] = {
    "cifar10": KnownFiles(
        "none stated (research use)",
        {
            "cifar10/train.npz": "5b561e7d1e62e58dbb27aae1970555df22f13b9577850325087c0a4ee51f322e",
            "cifar10/test.npz": "7898c346db423de82e340bda5365054586580170bfbac205f55314c24841a291",
        },
    ),
    "fashion_mnist": KnownFiles(
        "MIT",
        {
            "fashion_mnist/train.npz": "0de023befe4e1f44396536887aabc22594baa700a617565db4bd27bd53b6044a",
            "fashion_mnist/test.npz": "59a1e7e9a7b6c0a547a34a009aebf972ac12f4a3a573b8752496fa264368ddc4",
        },
    ),
    "fsdd": KnownFiles(
        "CC BY-SA 4.0",
        {"fsdd/fsdd.npz": "0b3e751a0663f9740a9706b532cde62804ce8a75ddf74107db848728f6c527a0"},
    ),
    "tinyshakespeare": KnownFiles(
        "public domain",
        {TINYSHAKESPEARE: TINYSHAKESPEARE_SHA256},
    ),
}
"""The files that this program was made with; a set of the same name with other bytes is listed as not ok."""


def list_sets(
    data_dir: str | os.PathLike[str] | None, *, stamps: Path | None = None, check: bool = True
) -> list[SetStatus]:
    """Every known set, by name.

    Args:
        data_dir: None, or a folder that need not exist.
        stamps: a JSON file of our own that remembers each file's sha256 by path, size and time, so that only files that
            changed are read again. The data directory itself is never written.
        check: read the files that have no stamp; without it their `sha256_ok` is None.
    """
    folder = None if data_dir is None else Path(os.path.abspath(data_dir))
    known = _Stamps(stamps)
    found = [_digits(folder), _pydoc()]
    found += [_files(name, folder, lambda path: known.sha256(path, check=check)) for name in FILES]
    known.save()
    return sorted(found, key=lambda status: status.name)


def _digits(folder: Path | None) -> SetStatus:
    path = packaged_csv() or own_npz(folder)
    is_ok = None
    if path:
        try:
            is_ok = load_digits(folder).sha256 == DIGITS_SHA256
        except DataMissing:  # a source that holds something else
            is_ok = False
    return SetStatus(
        name="digits",
        state="present" if path else "missing",
        num_bytes=path.stat().st_size if path else 0,
        sha256_ok=is_ok,
        licence="CC BY 4.0 (UCI), packaged with scikit-learn",
        get="python -m pip install scikit-learn",
        used_by="workloads",
    )


def _pydoc() -> SetStatus:
    try:
        text = load_pydoc(None)
    except DataMissing:
        text = None
    return SetStatus(
        name="pydoc",
        state="present" if text else "missing",
        num_bytes=len(text.train) + len(text.validation) + len(text.test) if text else 0,
        sha256_ok=None,  # each version of Python has its own
        licence="PSF-2.0, part of Python",
        get="a Python with its pydoc_data",
        used_by="workloads",
    )


def _files(name: str, folder: Path | None, sha256_of: Callable[[Path], str | None]) -> SetStatus:
    expected = FILES[name].sha256
    paths = [folder / relative for relative in expected] if folder else []
    is_present = bool(paths) and all(path.is_file() for path in paths)
    found = [sha256_of(path) for path in paths] if is_present else [None]
    return SetStatus(
        name=name,
        state="present" if is_present else "missing",
        num_bytes=sum(path.stat().st_size for path in paths) if is_present else 0,
        sha256_ok=None if None in found else found == list(expected.values()),
        licence=FILES[name].licence,
        get=f"put {' and '.join(expected)} into {folder or 'the data directory'}",
        used_by="workloads" if name in LOADERS else "",
    )


class _Stamps:
    """sha256 of files by (path, size, modification time), kept in a JSON file where one is given."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._known: dict[str, str] = {}
        self._is_new = False
        if path and path.is_file():
            # Only a memory of work done: a torn one costs reading the files again.
            with suppress(ValueError, OSError):
                remembered = json.loads(path.read_text())
                self._known = remembered if isinstance(remembered, dict) else {}

    def sha256(self, path: Path, *, check: bool) -> str | None:
        stat = path.stat()
        key = f"{path}|{stat.st_size}|{stat.st_mtime_ns}"
        if key not in self._known and check:
            with open(path, "rb") as file:
                self._known[key] = hashlib.file_digest(file, "sha256").hexdigest()
            self._is_new = True
        return self._known.get(key)

    def save(self) -> None:
        if not (self._path and self._is_new):
            return
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}.tmp")
        # A home that cannot be written costs reading the files again, nothing more.
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            try:
                temporary.write_text(json.dumps(self._known, indent=0, sort_keys=True))
                os.replace(temporary, self._path)
            finally:
                temporary.unlink(missing_ok=True)
