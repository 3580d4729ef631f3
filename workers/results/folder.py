"""Whose a result folder is: the first line of its study.yaml says, and nobody else's is written over."""

import re
import shutil
from pathlib import Path

from schemas.errors import PlaceError

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


def claim_folder(folder: Path, study_id: str) -> None:
    """Make `folder` and check that it may hold this study's results.

    Raises:
        PlaceError: it holds another study's results, other files, or cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        owner = owner_of(folder)
        if owner is not None and owner != study_id:
            raise PlaceError(f"--out {folder}: it holds the results of study {owner}; name another folder")
        if owner is None and any(not item.name.startswith(".") for item in folder.iterdir()):
            raise PlaceError(f"--out {folder}: it is not empty and holds no results of ours; name another folder")
        probe = folder / ".writable"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise PlaceError(f"--out {folder}: {error.strerror or error}; name a folder that can be written") from error


def copy_results(source: Path, target: Path, study_id: str) -> list[Path]:
    """Copy a study's result folder to another place, each file whole or not at all; returns the files.

    Raises:
        PlaceError: `target` holds something else, or cannot be written.
    """
    claim_folder(target, study_id)
    copied = []
    for item in sorted(source.iterdir()):
        if item.is_file() and not item.name.startswith("."):
            temporary = target / f".{item.name}.partial"
            try:
                shutil.copyfile(item, temporary)
                temporary.replace(target / item.name)
            except OSError as error:
                temporary.unlink(missing_ok=True)
                raise PlaceError(f"--out {target}: {error.strerror or error}") from error
            copied.append(target / item.name)
    return copied
