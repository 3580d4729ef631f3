"""Where things lie: home, ledger, records, data, tracker. Flags win over the environment, the environment over home."""

import os
import re
import stat
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import PlaceError, PlaceRefused, Problem
from schemas.problems import show_place
from workers.tracking.places import store_file
from workers.tracking.places import tracking_uri as resolve_tracking_uri
from workers.writable import why_unwritable

HOME, RECORDS, DATA, TRACKING = (
    "--home (WARMUP_BENCH_HOME)",
    "--records (WARMUP_BENCH_RECORDS)",
    "--data (WARMUP_BENCH_DATA)",
    "--tracking-uri (MLFLOW_TRACKING_URI)",
)
PLUGIN = "--plugin"
PLUGINS = "WARMUP_BENCH_PLUGIN_FILES"
"""Environment variable of a child process: Places.plugins of the one that started it."""
LEDGER = "WARMUP_BENCH_LEDGER"
"""Environment variable of a child process: Places.ledger of the one that started it."""
DATABASE_URL, DATABASE_URL_FILE = "WARMUP_BENCH_DATABASE_URL", "WARMUP_BENCH_DATABASE_URL_FILE"
"""Environment variables: the ledger's database URL, or the file that holds it alone."""
_WRITABLE = "a folder that can be made and written"
_URL_EXAMPLE = "postgresql+psycopg://USER:PASSWORD@HOST:5432/NAME"
_LONGEST_URL = 4096


@dataclass(frozen=True)
class Places:
    """Absolute places, resolved once; child processes get them as flags."""

    home: Path
    ledger: str
    """Path of the SQLite file, or a database URL."""
    records: str
    """Local path or fsspec URL."""
    data: Path
    tracking_uri: str | None
    """None: no tracking."""
    plugins: tuple[Path, ...] = ()
    """Files that were named with --plugin."""

    @classmethod
    def resolve(
        cls,
        *,
        home: str | None = None,
        records: str | None = None,
        data: str | None = None,
        tracking_uri: str | None = None,
        ledger: str | None = None,
        plugins: Iterable[str] = (),
        environment: Mapping[str, str] = os.environ,
    ) -> "Places":
        """Places from flags, then environment variables, then the home folder (default `~/.warmup-bench`).

        Raises:
            PlaceRefused: one that can be no folder, a tracking URI that MLflow cannot keep runs at, a plugin that is no
                file.
        """
        root = as_folder(HOME, home or environment.get("WARMUP_BENCH_HOME") or "~/.warmup-bench")
        record_place = records or environment.get("WARMUP_BENCH_RECORDS") or str(root / "records")
        data_place = data or environment.get("WARMUP_BENCH_DATA") or str(root / "data")
        tracker = tracking_uri or environment.get("MLFLOW_TRACKING_URI")
        check_text(RECORDS, record_place)
        check_text(TRACKING, tracker or "")
        return cls(
            home=root,
            ledger=ledger or str(root / "ledger.sqlite"),
            records=record_place if "://" in record_place else str(as_folder(RECORDS, record_place)),
            data=as_folder(DATA, data_place),
            tracking_uri=resolve_tracking_uri(tracker, root),
            plugins=tuple(_as_file(path) for path in plugins),
        )

    def flags(self) -> list[str]:
        """Command-line flags that give a child process these places."""
        return [
            *("--home", str(self.home)),
            *("--records", self.records),
            *("--data", str(self.data)),
            *("--tracking-uri", self.tracking_uri or "none"),
        ]

    def check_writable(self) -> None:
        """Check that home, records and MLflow's store can be written, before a study would end there. Leaves nothing.

        Raises:
            PlaceRefused: one of them cannot.
        """
        check_writable(HOME, self.home)
        if "://" not in self.records:
            check_writable(RECORDS, Path(self.records))
        else:
            _check_protocol(self.records)
        store = store_file(self.tracking_uri)
        if store is not None:
            check_writable(TRACKING, store.parent)
            if store.exists() and not (store.is_file() and os.access(store, os.W_OK)):
                raise _refused(TRACKING, str(store), "no file that can be written", "sqlite:///FILE")

    def make_home(self) -> None:
        """Create the home folder.

        Raises:
            PlaceRefused: it cannot be made or written.
        """
        check_writable(HOME, self.home)
        try:
            self.home.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PlaceError(f"home {self.home}: {error.strerror or error}") from error

    def study_folder(self, study_id: str) -> Path:
        """Where a study's result folder is kept when no other place is asked for."""
        return self.home / "studies" / study_id


def database_url(environment: Mapping[str, str] = os.environ, flag: str | None = None) -> str | None:
    """The URL of the ledger's database: the flag's, else WARMUP_BENCH_DATABASE_URL, else the one line of the file that
    WARMUP_BENCH_DATABASE_URL_FILE names; None where none is given: the home has the ledger.

    A file keeps the password out of the environment, which others may read. What it holds is never shown.

    Raises:
        PlaceRefused: the flag is empty, both variables are set, the file cannot be read as one line, or what was found
            is no URL: not a path either, or a wrong file's password would be the name of a new ledger.
    """
    if flag is not None:
        if not flag:
            raise _refused("--database-url", "''", "no address", _URL_EXAMPLE)
        return _url("--database-url", flag)
    value, file = environment.get(DATABASE_URL, "").strip(), environment.get(DATABASE_URL_FILE)
    if value and file:
        raise _refused(DATABASE_URL_FILE, file, f"{DATABASE_URL} is set too", "one of the two variables")
    if file:
        return _url(f"{DATABASE_URL_FILE} {file}", _one_line(DATABASE_URL_FILE, file, _URL_EXAMPLE))
    return _url(DATABASE_URL, value) if value else None


def _url(what: str, text: str) -> str:
    if not re.match(r"[a-z][a-z0-9+]*://", text):
        raise PlaceRefused(str(Problem(what, "something that is no URL", _URL_EXAMPLE)))
    return text


def _one_line(what: str, file: str, holds: str) -> str:
    allowed = f"a file with one line, {holds}"
    check_text(what, file)
    try:
        with Path(file).expanduser().open("rb") as opened:
            text = opened.read(_LONGEST_URL + 1).decode().strip()
    except (OSError, RuntimeError) as error:  # RuntimeError: the home of somebody who does not exist
        raise _refused(what, file, str(getattr(error, "strerror", None) or error), allowed) from error
    except UnicodeDecodeError as error:
        raise _refused(what, file, "bytes that are no UTF-8", allowed) from error
    if not text or len(text) > _LONGEST_URL or len(text.splitlines()) > 1 or not text.isprintable():
        reason = "an empty file" if not text else "more than one line of printable text"
        raise _refused(what, file, reason, allowed)
    return text


def _as_file(text: str) -> Path:
    check_text(PLUGIN, text)
    path = Path(text).expanduser().absolute()
    if not path.is_file() or path.suffix != ".py":
        raise _refused(PLUGIN, text, "no file FILE.py" if not path.is_file() else "no .py file", "a Python file")
    return path


def as_folder(what: str, text: str) -> Path:
    """The absolute path of a folder, which need not exist yet.

    Raises:
        PlaceRefused: no path could be spelled so, or something else than a folder is there.
    """
    check_text(what, text)
    try:
        path = Path(text).expanduser().absolute()
        if not stat.S_ISDIR(path.stat().st_mode):
            raise _refused(what, str(path), "a file", "a folder")
    except FileNotFoundError:
        return path
    except (OSError, RuntimeError) as error:  # RuntimeError: the home of somebody who does not exist
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise _refused(what, text, str(reason), "a folder") from error
    return path


def check_text(what: str, text: str) -> None:
    """Check that a place is spelled in characters that can be printed and stored.

    Raises:
        PlaceRefused: control characters, or bytes that are no UTF-8.
    """
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in text):
        raise _refused(what, text, "control characters, or bytes that are no UTF-8", "printable text")


def _check_protocol(records: str) -> None:
    import fsspec  # only for who keeps records in an object store

    protocol = records.partition("://")[0]
    try:
        fsspec.get_filesystem_class(protocol)
    except ValueError as error:
        raise _refused(RECORDS, records, "an unknown protocol", "a folder, or a place that fsspec knows") from error
    except ImportError as error:
        got = f"a place that needs a package: {error}"
        raise _refused(RECORDS, records, got, "a folder, or that package beside this one") from error


def check_writable(what: str, folder: Path) -> None:
    """Check that a folder can be made and written. Leaves nothing.

    Raises:
        PlaceRefused: it cannot.
    """
    reason = why_unwritable(folder)
    if reason is not None:
        raise _refused(what, str(folder), reason, _WRITABLE)


def _refused(what: str, place: str, reason: str, allowed: str) -> PlaceRefused:
    return PlaceRefused(str(Problem(what, f"{show_place(place)}: {reason}", allowed)))
