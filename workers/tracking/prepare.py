"""Makes MLflow's SQLite store by copying a migrated file, instead of by running all migrations: `python -m` this.

MLflow migrates an empty database through every version it ever had, and two processes that meet there break each other.
So that happens once per MLflow version, in a file of the cache that nobody else has open. MLflow compares the copy's
schema with its own whenever it opens it; a template of another version would be refused there, and is never used,
because the versions are part of its name.
"""

import os
import shutil
import sqlite3
import sys
from contextlib import closing
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from schemas.errors import PlaceError
from workers.tracking.switches import set_switches


def ensure_store(path: Path, cache: Path | None = None) -> bool:
    """Make the store at `path` unless it is there; True where this call made it. Safe with several processes at once.

    Args:
        cache: folder of the template, by default `cache_folder()`; where it cannot be written, none is kept.

    Raises:
        PlaceError: the store's folder cannot be written.
    """
    if path.exists():
        return False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=path.parent, prefix=".mlflow-") as folder:
            fresh = Path(folder) / "store.sqlite"
            _copy_of_template(fresh, cache or cache_folder())
            os.link(fresh, path)  # unlike a rename, it does not replace a store that another process has put there
    except FileExistsError:
        return False
    except OSError as error:
        raise PlaceError(f"MLflow store {path}: {error.strerror or error}; set --home or --tracking-uri") from error
    return True


def cache_folder() -> Path:
    """Where templates are kept: `$XDG_CACHE_HOME/warmup-bench`, by default in `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "warmup-bench"


def ensure_template(cache: Path) -> Path:
    """The migrated file for the installed MLflow, made where it is missing."""
    template = cache / f"mlflow-{version('mlflow')}-sqlalchemy-{version('sqlalchemy')}.sqlite"
    if not template.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=cache, prefix=".mlflow-") as folder:
            fresh = Path(folder) / "store.sqlite"
            _migrate(fresh)
            fresh.replace(template)
    return template


def _copy_of_template(target: Path, cache: Path) -> None:
    try:
        shutil.copyfile(ensure_template(cache), target)
    except OSError:  # no home folder, or a read-only one: slower, not worse
        _migrate(target)


def _migrate(path: Path) -> None:
    set_switches()
    from mlflow.db import commands

    # `mlflow db upgrade`, in this process: MLflow's import is paid once
    commands(["upgrade", f"sqlite:///{path}"], standalone_mode=False)
    with closing(sqlite3.connect(path)) as connection:
        # A lasting property of the file. One flush per commit instead of two, and readers do not stop the writer.
        connection.execute("PRAGMA journal_mode = WAL")


if __name__ == "__main__":
    sys.stdout.write(f"{ensure_template(cache_folder())}\n")
