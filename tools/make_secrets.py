"""Makes the secrets of a team's service, as files: random, each of them once. `make secrets` runs it.

What is there already stays: running it again adds what a newer version needs, and changes nothing. A file that is made
from others (a URL with its password) is made from what these say.

The folder is for its owner alone (0700), so nobody else on the machine reaches a file in it. The files may be read by
all who get there (0444): Docker mounts each as it is, and the containers' users, other ones than this, must read it.
"""

import configparser
import io
import json
import secrets
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
S3_USERS = {
    # the identity that makes the buckets, and is used for nothing else
    "s3_admin_credentials": ["Admin", "Read", "List", "Tagging", "Write"],
    "s3_credentials": [f"{right}:warmup-bench" for right in ("Read", "List", "Tagging", "Write")],
    "mlflow_s3_credentials": [f"{right}:mlflow" for right in ("Read", "List", "Tagging", "Write")],
}
"""File of each user of the object store -> what it may do there, in SeaweedFS' words."""


def main(arguments: list[str]) -> int:
    """`make_secrets.py [FOLDER]`, by default `secrets/` beside the Makefile."""
    folder = Path(arguments[0]) if arguments else ROOT / "secrets"
    made = make(folder)
    print(f"secrets: {', '.join(made) if made else 'all there'} in {folder}")
    return 0


def make(folder: Path) -> list[str]:
    """Makes what is missing in the folder; returns the names of the files that it made."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    return [name for name, content in FILES.items() if _make_once(folder / name, lambda: content(folder))]  # noqa: B023  # called at once


def _make_once(path: Path, content: Callable[[], str]) -> bool:
    if path.exists():
        return False
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    partial.write_text(content(), encoding="utf-8")
    partial.chmod(0o444)
    partial.rename(path)
    return True


def _token(folder: Path) -> str:
    return secrets.token_hex(32)  # hexadecimal: the same in a URL, an INI file and a header


def _s3_user(folder: Path) -> str:
    return f"[default]\naws_access_key_id = {secrets.token_hex(10)}\naws_secret_access_key = {secrets.token_hex(32)}\n"


def _database_url(folder: Path) -> str:
    return f"postgresql+psycopg://warmup_bench:{_read(folder, 'warmup_bench_password')}@postgres:5432/warmup_bench\n"


def _mlflow_database(folder: Path) -> str:
    """A service file of Postgres' own client library: MLflow's address then has no password in it."""
    password = _read(folder, "mlflow_password")
    return f"[mlflow]\nhost=postgres\nport=5432\ndbname=mlflow\nuser=mlflow\npassword={password}\n"


def _s3_server(folder: Path) -> str:
    return json.dumps(
        {"identities": [_identity(folder, name, actions) for name, actions in S3_USERS.items()]}, indent=2
    )


def _identity(folder: Path, name: str, actions: list[str]) -> dict[str, object]:
    parser = configparser.ConfigParser()
    parser.read_file(io.StringIO(_read(folder, name)))
    user = parser["default"]
    keys = {"accessKey": user["aws_access_key_id"], "secretKey": user["aws_secret_access_key"]}
    return {"name": name.removesuffix("_credentials"), "credentials": [keys], "actions": actions}


def _read(folder: Path, name: str) -> str:
    return (folder / name).read_text(encoding="utf-8").strip()


FILES: dict[str, Callable[[Path], str]] = {
    "ray_token": _token,
    "postgres_password": _token,
    "warmup_bench_password": _token,
    "mlflow_password": _token,
    **dict.fromkeys(S3_USERS, _s3_user),
    # made from those above
    "database_url": _database_url,
    "mlflow_pg_service.conf": _mlflow_database,
    "s3_server.json": _s3_server,
}
"""File -> what it holds; each after those that it is made from."""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
