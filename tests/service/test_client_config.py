"""Which server a command acts on, and whose key it is shown."""

from pathlib import Path

import pytest

from schemas.errors import PlaceError, SpecError
from service.config import Server, find_server, is_loopback, server_url

TEAM, LOCAL = "https://warmup.example.org", "http://127.0.0.1:8000"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def found(home: Path, server: str | None = None, key_file: Path | None = None, **variables: str) -> Server | None:
    """With a user's own config folder beside the home."""
    environment = {"XDG_CONFIG_HOME": str(home.parent / "config")} | variables
    return find_server(server, key_file, home, environment=environment)


def user_config(home: Path, text: str) -> None:
    folder = home.parent / "config" / "warmup-bench"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(text)


def refused(*arguments: object, **variables: str) -> str:
    with pytest.raises(SpecError) as error:
        found(*arguments, **variables)  # type: ignore[arg-type]
    return str(error.value)


def test_where_nothing_names_a_server_there_is_none(home: Path) -> None:
    assert found(home) is None


def test_the_flag_goes_before_the_variable_before_the_home_before_the_user(home: Path) -> None:
    user_config(home, 'server = "http://user:1"')
    assert found(home).url == "http://user:1"
    (home / "config.toml").write_text('server = "http://home:1"')
    assert found(home).url == "http://home:1"
    assert found(home, WARMUP_BENCH_SERVER="http://variable:1").url == "http://variable:1"
    assert found(home, "http://flag:1", WARMUP_BENCH_SERVER="http://variable:1").url == "http://flag:1"


def test_none_means_here_whatever_else_names_a_server(home: Path) -> None:
    user_config(home, f'server = "{TEAM}"')
    assert found(home, "none") is None
    assert found(home, WARMUP_BENCH_SERVER="none") is None


def test_the_key_file_goes_before_the_variable_before_the_config(home: Path, tmp_path: Path) -> None:
    (home / "config.toml").write_text(f'server = "{TEAM}"\nkey = "of-config"')
    file = tmp_path / "key"
    file.write_text("of-file\n")
    assert found(home).key == "of-config"
    assert found(home, WARMUP_BENCH_KEY="of-variable").key == "of-variable"
    assert found(home, None, file, WARMUP_BENCH_KEY="of-variable").key == "of-file"


def test_a_configs_key_goes_to_its_own_server_only(home: Path) -> None:
    user_config(home, f'server = "{TEAM}/"\nkey = "secret"')
    assert found(home, f"{TEAM}/v1").key == "secret"
    assert found(home, "https://elsewhere.example.org").key is None


def test_a_key_file_in_a_config_is_beside_it(home: Path) -> None:
    (home / "config.toml").write_text(f'server = "{TEAM}"\nkey_file = "team.key"')
    (home / "team.key").write_text("secret\n")
    assert found(home).key == "secret"


def test_the_key_of_an_embedded_server_goes_to_this_machine_only(home: Path) -> None:
    (home / "serve.key").write_text("embedded\n")
    assert found(home, LOCAL).key == "embedded"
    assert found(home, "http://localhost:9").key == "embedded"
    assert found(home, TEAM).key is None
    assert found(home, "http://127.0.0.1.example.org").key is None


def test_a_key_is_never_shown(home: Path) -> None:
    (home / "serve.key").write_text("embedded")
    assert "embedded" not in repr(found(home, LOCAL))
    (home / "serve.key").write_text("two words-of-a-secret")
    assert "secret" not in refused(home, LOCAL)
    assert "hunter2" not in refused(home, "https://me:hunter2@example.org")


@pytest.mark.parametrize(
    "address",
    [
        *("warmup.example.org", "ftp://a", "http://", "http://a:port", "http://a:99999", "http://a?x=1", "http://a#x"),
        *("", " ", "http://a b", "http://a\nb", "http://ä.example", "http://[::1", "-x"),
    ],
)
def test_an_address_that_cannot_be_one_is_refused(address: str) -> None:
    with pytest.raises(SpecError, match=r"--server: got .*, allowed an address such as"):
        server_url(address)


@pytest.mark.parametrize("address", ["http://h:1/", "http://h:1/v1", "http://h:1/v1/", "http://h:1"])
def test_an_address_may_end_in_a_slash_or_the_version(address: str) -> None:
    assert server_url(address) == "http://h:1"


def test_a_server_behind_a_path_keeps_it() -> None:
    assert server_url("https://h/warmup/v1") == "https://h/warmup"


@pytest.mark.parametrize(
    ("url", "expected"),
    [("http://[::1]:1", True), ("http://127.9.9.9", True), ("http://10.0.0.1", False), (TEAM, False)],
)
def test_loopback_is_told_by_the_address(url: str, expected: bool) -> None:
    assert is_loopback(url) is expected


def test_a_config_with_a_wrong_field_says_which_may_stand_there(home: Path) -> None:
    (home / "config.toml").write_text('sever = "x"\nkey = 3')
    said = refused(home)
    assert "sever: got an unknown field, allowed one of server, key, key_file (did you mean server?)" in said
    assert "key: got what is no text" in said


def test_a_config_that_is_no_toml_says_where(home: Path) -> None:
    (home / "config.toml").write_text("server = ?")
    assert "line 1" in refused(home)


def test_a_key_file_that_is_not_there_is_named(home: Path, tmp_path: Path) -> None:
    with pytest.raises(PlaceError, match=r"no\.key: No such file or directory"):
        found(home, LOCAL, tmp_path / "no.key")
