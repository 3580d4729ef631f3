"""Which server a command acts on, and with which key: flags, environment, config files, and the embedded server's own.

A config file (`HOME/config.toml`, then `~/.config/warmup-bench/config.toml`) holds `server`, and `key` or `key_file`.
Its key goes only to its own server. The key that `serve` makes for its home, HOME/serve.key, goes only to this machine.
"""

import ipaddress
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from schemas.errors import PlaceError, Problem, SpecError
from schemas.problems import did_you_mean, show, show_place

DEFAULT_SERVER = "http://127.0.0.1:8000"
"""Where `serve` listens when nothing else is said."""
SERVE_KEY = "serve.key"
CONFIG_FIELDS = ("server", "key", "key_file")
MAX_FILE_BYTES = 64 * 1024
AN_ADDRESS = f"an address such as {DEFAULT_SERVER} or https://warmup.example.org, without a user, ? or #"


@dataclass(frozen=True)
class Server:
    """A server's address, and what to show it."""

    url: str
    """Scheme, host, port and perhaps a path; no `/` at the end."""
    key: str | None = field(repr=False)
    key_from: str
    """Where the key was found, or where one was looked for: for messages."""

    @property
    def is_loopback(self) -> bool:
        """Whether it is on this machine."""
        return is_loopback(self.url)


def find_server(
    server: str | None,
    key_file: str | Path | None,
    home: Path,
    *,
    environment: Mapping[str, str] = os.environ,
    default: str | None = None,
) -> Server | None:
    """The server that is named by the flag, WARMUP_BENCH_SERVER or a config file (in this order), else `default`.

    None where nothing names one, or the first that does says `none`.

    Raises:
        SpecError: an address, a key or a config file that cannot be meant. PlaceError: a file that cannot be read.
    """
    configs = [read_config(path) for path in config_files(home, environment)]
    url = _named(server, configs, environment)
    url = default if url is None else url
    if url is None or url == "none":
        return None
    key, source = _key(url, key_file, configs, home, environment)
    return Server(url, key, source)


@dataclass(frozen=True)
class Config:
    """One config file; the address normalised, the paths absolute."""

    path: Path
    server: str | None = None
    key: str | None = field(default=None, repr=False)
    key_file: Path | None = None


def config_files(home: Path, environment: Mapping[str, str] = os.environ) -> list[Path]:
    """The config files that may be there, the most specific first."""
    own = environment.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return [home / "config.toml", Path(own) / "warmup-bench" / "config.toml"]


def read_config(path: Path) -> Config:
    """A config file; one that is not there says nothing.

    Raises:
        SpecError: no TOML, or a field that is unknown or no text. PlaceError: it cannot be read.
    """
    if not path.exists():
        return Config(path)
    try:
        document = tomllib.loads(_text(path))
    except tomllib.TOMLDecodeError as error:
        raise SpecError([Problem(show_place(str(path)), str(error), "TOML")]) from error
    problems = []
    for name, value in document.items():
        where = f"{show_place(str(path))}: {name}"
        if name not in CONFIG_FIELDS:
            said = f"one of {', '.join(CONFIG_FIELDS)}{did_you_mean(name, list(CONFIG_FIELDS))}"
            problems.append(Problem(where, "an unknown field", said))
        elif not isinstance(value, str) or not value:
            problems.append(Problem(where, "what is no text, or an empty one", "a text"))
    if problems:
        raise SpecError(problems)
    named, key, key_file = (document.get(name) for name in CONFIG_FIELDS)
    return Config(
        path,
        None if named is None else server_url(named, f"{show_place(str(path))}: server"),
        None if key is None else checked_key(key, f"key of {show_place(str(path))}"),
        None if key_file is None else path.parent / Path(key_file).expanduser(),
    )


def server_url(text: str, where: str = "--server") -> str:
    """A server's address without `/` or `/v1` at its end; `none` stays.

    Raises:
        SpecError: it is no http or https address, or holds a password.
    """
    if text == "none":
        return text
    try:
        parts = urlsplit(text)
        wrong = parts.scheme not in ("http", "https") or not parts.hostname or bool(parts.query or parts.fragment)
        _ = parts.port  # checked when it is read
    except ValueError:
        wrong = True
    else:
        if "@" in parts.netloc:  # not shown: it may hold a password
            raise SpecError([Problem(where, "an address with a user or a password", AN_ADDRESS)])
    if wrong or not text.isprintable() or not text.isascii() or " " in text:
        raise SpecError([Problem(where, show(text), AN_ADDRESS)])
    return text.rstrip("/").removesuffix("/v1").rstrip("/")


def is_loopback(url: str) -> bool:
    """Whether an address is one of this machine alone."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def checked_key(text: str, where: str) -> str:
    """A key without the line break at its end. Never shown, whatever is wrong with it.

    Raises:
        SpecError: it could not be sent in a header.
    """
    key = text.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise SpecError([Problem(where, "what is no key", "one line of letters, digits, - and _")])
    return key


def _named(server: str | None, configs: list[Config], environment: Mapping[str, str]) -> str | None:
    if server is not None:
        return server_url(server)
    if environment.get("WARMUP_BENCH_SERVER"):
        return server_url(environment["WARMUP_BENCH_SERVER"], "WARMUP_BENCH_SERVER")
    return next((config.server for config in configs if config.server is not None), None)


def _key(
    url: str, key_file: str | Path | None, configs: list[Config], home: Path, environment: Mapping[str, str]
) -> tuple[str | None, str]:
    if key_file is not None:
        return _key_of(Path(key_file).expanduser()), f"--key-file {show_place(str(key_file))}"
    if environment.get("WARMUP_BENCH_KEY"):
        return checked_key(environment["WARMUP_BENCH_KEY"], "WARMUP_BENCH_KEY"), "WARMUP_BENCH_KEY"
    for config in configs:
        if config.server not in (None, url):
            continue
        source = show_place(str(config.path))
        if config.key is not None:
            return config.key, source
        if config.key_file is not None:
            return _key_of(config.key_file), f"{source} ({show_place(str(config.key_file))})"
    embedded = home / SERVE_KEY
    if is_loopback(url) and embedded.is_file():
        return _key_of(embedded), show_place(str(embedded))
    return None, "none was found"


def _key_of(path: Path) -> str:
    return checked_key(_text(path), show_place(str(path)))


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES).decode("utf-8-sig")
    except OSError as error:
        raise PlaceError(f"{show_place(str(path))}: {error.strerror or error}; name a file that can be read") from error
    except UnicodeDecodeError as error:
        raise PlaceError(f"{show_place(str(path))}: it is no text; name another file") from error
