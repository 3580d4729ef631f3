"""Can a folder be made and written? Tried and undone, since neither its rights nor its file system tell for sure."""

import contextlib
import tempfile
from pathlib import Path


def why_unwritable(folder: Path) -> str | None:
    """What the system says against making `folder` and a file in it; None where both went well. Leaves nothing."""
    made: list[Path] = []
    try:
        for path in [path for path in (folder, *folder.parents) if not path.exists()][::-1]:
            with contextlib.suppress(FileExistsError):  # another process was faster, and it is that one's
                path.mkdir()
                made.append(path)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".writable-") as probe:
            probe.write(b"x")  # a full disk still makes empty files
    except OSError as error:
        return error.strerror or str(error)
    finally:
        for path in reversed(made):
            with contextlib.suppress(OSError):  # somebody has put something there meanwhile
                path.rmdir()
    return None
