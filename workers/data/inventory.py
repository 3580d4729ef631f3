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
from workers.data.installing import RECORD, recorded
from workers.data.pydoc import load_pydoc
from workers.data.sets import LOADERS
from workers.data.tinyshakespeare import FILE as TINYSHAKESPEARE
from workers.data.tinyshakespeare import FILE_SHA256 as TINYSHAKESPEARE_SHA256


@dataclass(frozen=True)
class SetStatus:
    """One line of `data list`."""

    name: str
    where: str
    """The file or folder that holds it, or would."""
    state: Literal["present", "missing", "damaged"]
    """`damaged`: something lies there, and it is not the set, or not all of it."""
    detail: str
    """What is wrong with a damaged one; else empty."""
    num_bytes: int
    """Of its files on this machine."""
    sha256: str | None
    """Of its one file, or of the lines `SHA256  FILE` of several (of the digits: of their arrays); None: not known."""
    sha256_ok: bool | None
    """Whether the files are the known ones, or those that its record tells; None: missing, or not checked."""
    licence: str
    get: str
    """What to run to have it."""
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
"""The files that this program was made with. What `data fetch` makes of a set's originals has other bytes (all rows, in
official order), which its record tells; a set of the same name with yet other bytes is listed as damaged."""


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


def set_status(name: str, data_dir: Path) -> SetStatus:
    """How a set of files stands, every byte of it read."""
    return _files(name, data_dir, lambda path: _Stamps(None).sha256(path, check=True))


def check_known(name: str, data_dir: Path) -> None:
    """Check that a set that can be read is the one of its name: the known files, or those that `data` brought.

    Raises:
        DataMissing: it has other bytes; the message says what to do.
    """
    if name not in FILES:
        return
    status = set_status(name, data_dir)
    if status.state == "damaged":
        raise DataMissing(
            f"{name}: {status.where}: {status.detail}; `{status.get}` puts the set in its place; data of your own are"
            " named {kind: plugin, name: ...}"
        )


def _digits(folder: Path | None) -> SetStatus:
    path = packaged_csv() or own_npz(folder)
    sha256, detail = None, ""
    if path:
        try:
            sha256 = load_digits(folder).sha256
        except DataMissing as error:  # a source that holds something else
            detail = str(error)
    return SetStatus(
        name="digits",
        where=str(path) if path else "scikit-learn's package",
        state="missing" if path is None else "damaged" if detail else "present",
        detail=detail,
        num_bytes=path.stat().st_size if path else 0,
        sha256=sha256,
        sha256_ok=None if path is None else sha256 == DIGITS_SHA256,
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
        where="Python's pydoc_data.topics",
        state="present" if text else "missing",
        detail="",
        num_bytes=len(text.train) + len(text.validation) + len(text.test) if text else 0,
        sha256=text.sha256 if text else None,
        sha256_ok=None,  # each version of Python has its own
        licence="PSF-2.0, part of Python",
        get="a Python with its pydoc_data",
        used_by="workloads",
    )


def _files(name: str, folder: Path | None, sha256_of: Callable[[Path], str | None]) -> SetStatus:
    known = FILES[name].sha256
    paths = [folder / relative for relative in known] if folder else []
    here = [path for path in paths if path.is_file()]
    found = {path.name: sha256_of(path) for path in here}
    detail = _what_is_wrong(name, folder, found) if here else ""
    is_read = bool(here) and None not in found.values()
    return SetStatus(
        name=name,
        where=str(folder / name) if folder else "the data directory",
        state="missing" if not here else "damaged" if detail else "present",
        detail=detail,
        num_bytes=sum(path.stat().st_size for path in here),
        sha256=_of_all(found) if is_read and not detail else None,
        sha256_ok=not detail if detail or is_read else None,
        licence=FILES[name].licence,
        get=f"warmup-bench data fetch {name}{' --replace' if detail else ''}",
        used_by="workloads" if name in LOADERS else "",
    )


def _what_is_wrong(name: str, folder: Path | None, found: dict[str, str | None]) -> str:
    """Of files of which at least one is there."""
    known = {Path(relative).name: sha256 for relative, sha256 in FILES[name].sha256.items()}
    if gone := [file for file in known if file not in found]:
        return f"{' and '.join(gone)} missing"
    record = recorded(folder / name) if folder else {}
    # All by one of the two: files of both would be two halves of different sets.
    vouched = [each for each in (known, record) if all(found[file] in (None, each.get(file)) for file in known)]
    if vouched:
        return ""
    other = " and ".join(file for file in known if found[file] != record.get(file, known[file]))
    return f"{other or ' and '.join(known)}: other bytes than {f'{RECORD} tells' if record else 'the known ones'}"


def _of_all(sha256: dict[str, str | None]) -> str:
    if len(sha256) == 1:
        return str(next(iter(sha256.values())))
    lines = "".join(f"{each}  {file}\n" for file, each in sorted(sha256.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


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
