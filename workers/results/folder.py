"""Whose a result folder is: the first line of its study.yaml says, and nobody else's is written over."""

import contextlib
import re
import shutil
from pathlib import Path

from schemas.errors import PlaceError, PlaceRefused
from workers.places import as_folder, check_writable

_MARK = re.compile(r"^# warmup-bench study ([0-9a-f]{16})\b")
SPEC_FILE = "study.yaml"


def default_folder_name(study_name: str, study_id: str) -> str:
    """`NAME-SHORTID`."""
    return f"{study_name.replace(' ', '-')}-{study_id[:8]}"


def mark(study_id: str) -> str:
    """The line that says whose a folder is."""
    return f"# warmup-bench study {study_id}\n"


def owner_of(folder: Path) -> str | None:
    """The study whose results a folder holds; None where it holds none."""
    try:
        with (folder / SPEC_FILE).open(encoding="utf-8") as file:
            found = _MARK.match(file.readline())
    except (OSError, UnicodeDecodeError):
        return None
    return found.group(1) if found else None


def check_folder(folder: Path, study_id: str | None) -> None:
    """Check that `folder` may hold this study's results (None: of a study that is still to be made). Make nothing.

    Raises:
        PlaceRefused: it holds another study's results, other files, or cannot be written.
    """
    path = as_folder("--out", str(folder))
    try:
        if path.is_dir():
            _check_owner(path, study_id)
    except PlaceError as error:
        raise PlaceRefused(str(error)) from error
    except OSError as error:
        raise PlaceRefused(str(_unusable(path, error))) from error
    check_writable("--out", path)


def claim_folder(folder: Path, study_id: str) -> None:
    """Make `folder` and check that it may hold this study's results.

    Raises:
        PlaceError: it holds another study's results, other files, or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _check_owner(folder, study_id)
        probe = folder / ".writable"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise _unusable(folder, error) from error


def _check_owner(folder: Path, study_id: str | None) -> None:
    owner = owner_of(folder)
    if owner is not None and owner != study_id:
        raise PlaceError(f"--out {folder}: it holds the results of study {owner}; name another folder")
    if owner is None and any(not item.name.startswith(".") for item in folder.iterdir()):
        raise PlaceError(f"--out {folder}: it is not empty and holds no results of ours; name another folder")


def _unusable(folder: Path, error: OSError) -> PlaceError:
    return PlaceError(f"--out {folder}: {error.strerror or error}; name a folder that can be written")


def copy_results(source: Path, target: Path, study_id: str) -> list[Path]:
    """Copy a study's result folder to another place, each file whole or not at all; returns the files.

    Raises:
        PlaceError: `target` holds something else, or cannot be written.
    """
    claim_folder(target, study_id)
    copied = []
    # The file with the mark goes first: a copy that is cut short is then known as ours.
    for item in sorted(source.iterdir(), key=lambda path: (path.name != SPEC_FILE, path.name)):
        if item.is_file() and not item.name.startswith("."):
            temporary = target / f".{item.name}.partial"
            try:
                shutil.copyfile(item, temporary)
                temporary.replace(target / item.name)
            except OSError as error:
                with contextlib.suppress(OSError):
                    temporary.unlink(missing_ok=True)
                raise PlaceError(
                    f"--out {target}: {error.strerror or error}; the results are kept in {source}:"
                    f" `warmup-bench report {study_id[:8]} --out FOLDER` writes them elsewhere"
                ) from error
            copied.append(target / item.name)
    return copied
