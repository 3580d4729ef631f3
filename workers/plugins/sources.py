"""Which code a part is: the sha256 of its source files."""

import hashlib
from pathlib import Path


def file_sha256(data: bytes) -> str:
    """Of a single file's bytes."""
    return hashlib.sha256(data).hexdigest()


def tree_sha256(root: Path) -> str:
    """Of a module's file, or of all `.py` files of a package by path below it: whatever the part imports beside it.

    What is compiled is told by the distribution's version alone.
    """
    if root.is_file():
        return file_sha256(root.read_bytes())
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py"), key=lambda path: path.relative_to(root).as_posix()):
        data = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()}\0{len(data)}\n".encode())
        digest.update(data)
    return digest.hexdigest()
