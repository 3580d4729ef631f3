"""Where bytes lie: a folder of this machine, or an object store behind fsspec. Either writes an object whole, once."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any, BinaryIO, Protocol
from uuid import uuid4

import fsspec

from schemas.errors import PlaceError

WHAT_TO_SET = "--records, WARMUP_BENCH_RECORDS"
_NO_HARD_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


class Place(Protocol):
    """Named objects below one root, immutable but for logs. Names are relative, `/` between parts."""

    root: str

    def put_new(self, name: str, data: bytes) -> None:
        """Store `data`, whole or not at all. Raises FileExistsError where the name is taken, else PlaceError."""

    def put(self, name: str, data: bytes) -> None:
        """Store `data`, whole or not at all, in the place of an older object of that name: of a log, say, which grows.
        For what no manifest names. Raises PlaceError.
        """

    def get(self, name: str) -> bytes:
        """The bytes of an object. Raises FileNotFoundError, or PlaceError for any other failure."""

    def open(self, name: str) -> BinaryIO:
        """An object to read parts of. Raises FileNotFoundError, or PlaceError for any other failure."""

    def delete(self, name: str) -> None:
        """Remove an object; one that is not there is no error, so that a deletion can be repeated."""

    def names_below(self, folder: str) -> Iterator[str]:
        """Every object below `folder`, for sweeping leftovers: what counts is in the manifests."""


def open_place(root: str | os.PathLike[str], *, durable: bool = True) -> Place:
    """The place that `root` names: a local path, or any fsspec URL (`s3://bucket/prefix`).

    Raises:
        PlaceError: the URL's protocol is unknown or needs a package that is not installed.
    """
    root = os.fspath(root)
    protocol, separator, path = root.partition("://")
    if not separator:
        return LocalPlace(root, durable=durable)
    if protocol in ("file", "local"):
        return LocalPlace(path, durable=durable)
    try:
        return ObjectPlace(root)
    except (ImportError, ValueError) as error:
        raise PlaceError(f"{root}: {error}") from error


class LocalPlace:
    """A folder. An object appears under its name only when its bytes are complete and, if `durable`, on the disk."""

    def __init__(self, root: str, *, durable: bool = True) -> None:
        self.root = os.path.abspath(root)  # a driver changes its working directory
        self._folder = Path(self.root)
        self._durable = durable
        self._known_folders: set[Path] = set()

    def put_new(self, name: str, data: bytes) -> None:
        """Write beside, put on the disk, then give the name."""
        path = self._folder / name
        with _said_as_place_error(path.parent, "write"):
            self._make_folder(path.parent)
            with temporary_beside(path) as temporary:
                _write(temporary, data, durable=self._durable)
                _publish(temporary, path)
            if self._durable:
                sync_folder(path.parent)

    def put(self, name: str, data: bytes) -> None:
        """Write beside, put on the disk, then take the name."""
        path = self._folder / name
        with _said_as_place_error(path.parent, "write"):
            self._make_folder(path.parent)
            with temporary_beside(path) as temporary:
                _write(temporary, data, durable=self._durable)
                os.replace(temporary, path)
            if self._durable:
                sync_folder(path.parent)

    def get(self, name: str) -> bytes:
        """The file's bytes."""
        path = self._folder / name
        with _said_as_place_error(path.parent, "read"):
            return path.read_bytes()

    def open(self, name: str) -> BinaryIO:
        """The file."""
        path = self._folder / name
        with _said_as_place_error(path.parent, "read"):
            return path.open("rb")

    def delete(self, name: str) -> None:
        """Remove the file."""
        path = self._folder / name
        with _said_as_place_error(path.parent, "delete in"), contextlib.suppress(FileNotFoundError):
            path.unlink()

    def names_below(self, folder: str) -> Iterator[str]:
        """Every file below `folder`."""
        for path in sorted((self._folder / folder).rglob("*")):
            if path.is_file():
                yield path.relative_to(self._folder).as_posix()

    def remove_empty_folders(self, folder: str) -> None:
        """Remove the folders below and with `folder` that hold no file."""
        for path, _, files in os.walk(self._folder / folder, topdown=False):
            if not files:
                with contextlib.suppress(OSError):  # not empty after all: somebody is writing there
                    os.rmdir(path)
                self._known_folders.discard(Path(path))

    def _make_folder(self, folder: Path) -> None:
        if folder in self._known_folders and folder.is_dir():
            return
        missing = list(takewhile(lambda path: not path.is_dir(), (folder, *folder.parents)))
        folder.mkdir(parents=True, exist_ok=True)
        if self._durable:
            for path in missing:  # a folder survives a power cut only once its parent is on the disk
                sync_folder(path.parent)
        self._known_folders.add(folder)


class ObjectPlace:
    """A prefix of an object store. One put per object: such stores show an object whole or not at all."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._files, self._prefix = fsspec.core.url_to_fs(root)
        self._prefix = self._prefix.rstrip("/")

    def put_new(self, name: str, data: bytes) -> None:
        """One conditional put: refused where the name is taken."""
        with self._said_as_place_error("write"):
            self._files.pipe_file(self._path(name), data, mode="create")

    def put(self, name: str, data: bytes) -> None:
        """One put."""
        with self._said_as_place_error("write"):
            self._files.pipe_file(self._path(name), data, mode="overwrite")

    def get(self, name: str) -> bytes:
        """The object's bytes."""
        with self._said_as_place_error("read"):
            data: Any = self._files.cat_file(self._path(name))
            return bytes(data)

    def open(self, name: str) -> BinaryIO:
        """The object, fetched by ranges."""
        with self._said_as_place_error("read"):
            file: BinaryIO = self._files.open(self._path(name), "rb")
            return file

    def delete(self, name: str) -> None:
        """Remove the object."""
        with self._said_as_place_error("delete in"), contextlib.suppress(FileNotFoundError):
            self._files.rm_file(self._path(name))

    def names_below(self, folder: str) -> Iterator[str]:
        """Every object below `folder`."""
        with self._said_as_place_error("list"):
            self._files.invalidate_cache()  # another machine may have written since
            found = sorted(self._files.find(self._path(folder)))
        for path in found:
            yield path[len(self._prefix) + 1 :]

    def _path(self, name: str) -> str:
        return f"{self._prefix}/{name}"

    @contextlib.contextmanager
    def _said_as_place_error(self, verb: str) -> Iterator[None]:
        try:
            yield
        except FileExistsError:
            raise
        except Exception as error:  # each store's client has a tree of its own (botocore's is not of OSError)
            if isinstance(error, FileNotFoundError) and verb != "write":  # where nothing is read, a bucket is missing
                raise
            raise PlaceError(f"{self.root}: cannot {verb} this place: {error}") from error


@contextlib.contextmanager
def temporary_beside(path: Path) -> Iterator[Path]:
    """A name in the folder of `path` that nobody reads; whatever lies there afterwards is removed."""
    temporary = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
    try:
        yield temporary
    finally:
        with contextlib.suppress(OSError):  # gone already, or the error that matters is on its way
            temporary.unlink()


def sync_folder(folder: Path) -> None:
    """Put the folder's entries on the disk: without it, a renamed file may be gone after a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Put the bytes of a closed file on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def place_error(folder: Path, verb: str, error: OSError, what_to_set: str = WHAT_TO_SET) -> PlaceError:
    """The error of a folder that cannot be used, with the cause and what to do."""
    cause = error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        with contextlib.suppress(OSError):
            cause += f", {shutil.disk_usage(folder).free:,} bytes free"
    return PlaceError(f"{folder}: cannot {verb} this folder: {cause}; free some space or set another ({what_to_set})")


@contextlib.contextmanager
def _said_as_place_error(folder: Path, verb: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, FileNotFoundError) and verb == "read":
            raise
        if isinstance(error, FileExistsError) and folder.is_dir():
            raise
        raise place_error(folder, verb, error) from error


def _write(path: Path, data: bytes, *, durable: bool) -> None:
    with open(path, "xb") as file:
        file.write(data)
        if durable:
            file.flush()
            os.fsync(file.fileno())


def _publish(temporary: Path, path: Path) -> None:
    # A link, unlike a rename, never replaces: a trainer thought dead cannot overwrite what its successor committed.
    try:
        os.link(temporary, path)
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        if path.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from error
        os.rename(temporary, path)
