"""Which tracker a person asked for: an address, by default a file in the home, or none."""

import re
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit

from schemas.errors import PlaceRefused
from schemas.problems import show_place
from workers.tracking.mlflow_tracker import MlflowTracker

NO_TRACKING = "none"
STORE_NAME = "mlflow.sqlite"
ARTIFACTS_NAME = "mlflow-artifacts"
_SQLITE = "sqlite:///"
_SERVERS = ("http", "https")
# MLflow 3 takes these databases, each through a driver of SQLAlchemy's; "" is the driver where the address names none.
_DRIVERS: dict[str, dict[str, tuple[str, str]]] = {
    "postgresql": {
        "": ("psycopg", "psycopg[binary]"),
        "psycopg": ("psycopg", "psycopg[binary]"),
        "psycopg2": ("psycopg2", "psycopg2-binary"),
        "pg8000": ("pg8000", "pg8000"),
    },
    "mysql": {
        "": ("MySQLdb", "mysqlclient"),
        "mysqldb": ("MySQLdb", "mysqlclient"),
        "pymysql": ("pymysql", "PyMySQL"),
        "mysqlconnector": ("mysql", "mysql-connector-python"),
    },
    "mssql": {"": ("pyodbc", "pyodbc"), "pyodbc": ("pyodbc", "pyodbc"), "pymssql": ("pymssql", "pymssql")},
}
"""Database -> driver -> (its module, the package to install)."""
_ALLOWED = f"sqlite:///FILE, http(s)://HOST, {', '.join(f'{name}://HOST/NAME' for name in _DRIVERS)}, or {NO_TRACKING}"


def tracking_uri(asked: str | None, home: Path) -> str | None:
    """The whole address: `HOME/mlflow.sqlite` unless something was asked for; None for `none`.

    A relative SQLite path is taken from the current folder, now: the driver later moves to another one.

    Raises:
        PlaceRefused: not an address that MLflow can keep runs at, or one whose driver is not installed.
    """
    if not asked:
        return f"{_SQLITE}{(home / STORE_NAME).absolute()}"
    if asked == NO_TRACKING:
        return None
    if asked.startswith(_SQLITE) and len(asked) > len(_SQLITE):
        return f"{_SQLITE}{Path(asked.removeprefix(_SQLITE)).absolute()}"
    _check_address(asked)
    return asked


def store_file(uri: str | None) -> Path | None:
    """The file of a SQLite store; None for any other tracker, or none."""
    return Path(uri.removeprefix(_SQLITE)) if uri is not None and uri.startswith(_SQLITE) else None


def open_tracker(asked: str | None, home: Path) -> MlflowTracker | None:
    """The tracker at `tracking_uri(asked, home)`, None for `none`; it connects on its first call.

    Artifacts of a server lie where the server says, those of a database in `HOME/mlflow-artifacts`.
    """
    uri = tracking_uri(asked, home)
    if uri is None:
        return None
    is_server = uri.startswith(("http://", "https://"))
    return MlflowTracker(uri, None if is_server else (home / ARTIFACTS_NAME).absolute())


def without_password(uri: str) -> str:
    """The address as it may be printed."""
    return re.sub(r"(://[^/@]*?:)[^/]*@", r"\1***@", uri)


def _check_address(asked: str) -> None:
    try:
        parts = urlsplit(asked)
        has_host = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:  # a port that is no number, half an IPv6 address
        raise _refused(asked) from None
    if parts.scheme in _SERVERS and has_host:
        return
    database, _, driver = parts.scheme.partition("+")
    known = _DRIVERS.get(database, {})
    if driver not in known or "://" not in asked or not (has_host or parts.path.strip("/")):
        raise _refused(asked)
    module, package = known[driver]
    if find_spec(module) is None:
        raise PlaceRefused(
            f"--tracking-uri (MLFLOW_TRACKING_URI): {database} needs the Python package {package}, which is not"
            f" installed; pip install '{package}'"
        )


def _refused(asked: str) -> PlaceRefused:
    got = show_place(without_password(asked))
    return PlaceRefused(f"--tracking-uri (MLFLOW_TRACKING_URI): got {got}, allowed {_ALLOWED}")
