"""`keys create|list|revoke` on the ledger of a home, and at a database URL."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.cli.main import main
from workers.ledger.ledger import Ledger


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Exit status, stdout and stderr of `keys`."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["warmup-bench", "keys", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


def test_a_key_is_printed_once_and_opens_the_ledger_it_was_made_in(said: Callable[..., Any], home: Path) -> None:
    status, secret, err = said("create", "--name", "ci", "--scope", "read", "--scope", "submit", "--home", home)
    assert status == 0
    assert "shown this once" in err
    with Ledger.open(home) as ledger:
        row = ledger.key_by_secret(secret.strip())
    assert row is not None
    assert (row.name, row.scopes, row.owner) == ("ci", frozenset({"read", "submit"}), row.id)
    assert secret.strip() not in said("list", "--home", home)[1]
    assert secret.strip().encode() not in (home / "ledger.sqlite").read_bytes()


def test_json_gives_id_and_key(said: Callable[..., Any], home: Path) -> None:
    made = json.loads(said("create", "--name", "n", "--scope", "read", "--owner", "team", "--home", home, "--json")[1])
    assert made["key"].startswith("wb_")
    assert (made["owner"], made["scopes"], made["revoked_at"]) == ("team", ["read"], None)
    (listed,) = json.loads(said("list", "--home", home, "--json")[1])["items"]
    assert listed == {name: value for name, value in made.items() if name != "key"}


def test_keys_are_listed_below_the_names_of_their_columns(said: Callable[..., Any], home: Path) -> None:
    said("create", "--name", "laptop", "--scope", "read", "--owner", "team", "--home", home)
    head, line = said("list", "--home", home)[1].splitlines()
    assert head.split() == ["key", "state", "scopes", "owner", "name"]
    assert line.split()[1:] == ["valid", "read", "team", "laptop"]
    assert [line.index(word) for word in ("valid", "read", "team", "laptop")] == [
        head.index(word) for word in ("state", "scopes", "owner", "name")
    ]


def test_a_revoked_key_is_listed_as_such_and_opens_nothing(said: Callable[..., Any], home: Path) -> None:
    made = json.loads(said("create", "--name", "n", "--scope", "admin", "--home", home, "--json")[1])
    for _ in range(2):
        assert said("revoke", made["id"], "--home", home)[:2] == (0, f"{made['id']}  revoked  n\n")
    assert "revoked 20" in said("list", "--home", home)[1]
    with Ledger.open(home) as ledger:
        assert ledger.key_by_secret(made["key"]) is None


def test_a_scope_that_there_is_not_makes_no_key(said: Callable[..., Any], home: Path) -> None:
    status, out, err = said("create", "--name", "n", "--scope", "write", "--home", home)
    assert (status, out) == (2, "")
    assert "error: scope: got 'write', allowed read | submit | admin" in err
    assert said("list", "--home", home)[1] == "no keys; `warmup-bench keys create` makes one\n"


def test_a_key_that_is_not_there_cannot_be_revoked(said: Callable[..., Any], home: Path) -> None:
    said("create", "--name", "n", "--scope", "read", "--home", home)
    status, _, err = said("revoke", "k_0", "--home", home)
    assert status == 1
    assert "keys list` shows them" in err


def test_listing_makes_no_home(said: Callable[..., Any], home: Path) -> None:
    assert said("list", "--home", home)[0] == 1
    assert not home.exists()


def test_a_database_url_names_another_ledger_than_the_homes(said: Callable[..., Any], home: Path) -> None:
    url = f"sqlite:///{home.parent / 'shared.sqlite'}"
    status, secret, err = said("create", "--name", "n", "--scope", "read", "--database-url", url, "--home", home)
    assert status == 0
    assert err.splitlines()[0].startswith("warmup-bench: here, ledger ")
    assert not home.exists()
    with Ledger.open(url) as ledger:
        assert ledger.key_by_secret(secret.strip()) is not None


def test_the_database_may_be_named_by_a_file(
    said: Callable[..., Any], home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path / 'shared.sqlite'}"
    (tmp_path / "url").write_text(f"{url}\n")
    monkeypatch.setenv("WARMUP_BENCH_DATABASE_URL_FILE", str(tmp_path / "url"))
    assert said("create", "--name", "n", "--scope", "read", "--home", home)[0] == 0
    assert len(said("list", "--database-url", url)[1].splitlines()) == 2
    monkeypatch.setenv("WARMUP_BENCH_DATABASE_URL_FILE", str(tmp_path / "none"))
    status, _, err = said("list")
    assert (status, "none: No such file or directory" in err) == (2, True)
