"""Which tracker a person asked for: an address, by default a file in the home, or none."""

from pathlib import Path

from schemas.errors import PlaceError
from workers.tracking.mlflow_tracker import MlflowTracker

NO_TRACKING = "none"
STORE_NAME = "mlflow.sqlite"
ARTIFACTS_NAME = "mlflow-artifacts"
_SQLITE = "sqlite:///"


def tracking_uri(asked: str | None, home: Path) -> str | None:
    """The whole address: `HOME/mlflow.sqlite` unless something was asked for; None for `none`.

    A relative SQLite path is taken from the current folder, now: the driver later moves to another one.

    Raises:
        PlaceError: not an address that MLflow can keep runs at.
    """
    if not asked:
        return f"{_SQLITE}{(home / STORE_NAME).absolute()}"
    if asked == NO_TRACKING:
        return None
    if asked.startswith(_SQLITE) and len(asked) > len(_SQLITE):
        return f"{_SQLITE}{Path(asked.removeprefix(_SQLITE)).absolute()}"
    if "://" not in asked or asked.startswith(("file:", "sqlite:")):
        allowed = f"sqlite:///FILE, http(s)://HOST, a database's address, or {NO_TRACKING}"
        raise PlaceError(f"tracking_uri: got {asked!r}, allowed {allowed}")
    return asked


def open_tracker(asked: str | None, home: Path) -> MlflowTracker | None:
    """The tracker at `tracking_uri(asked, home)`, None for `none`; it connects on its first call.

    Artifacts of a server lie where the server says, those of a database in `HOME/mlflow-artifacts`.
    """
    uri = tracking_uri(asked, home)
    if uri is None:
        return None
    is_server = uri.startswith(("http://", "https://"))
    return MlflowTracker(uri, None if is_server else (home / ARTIFACTS_NAME).absolute())
