"""A download comes whole and right, or says why it does not and leaves nothing that could be taken for the file."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.errors import FetchFailed
from tests.data import lying_server as server
from tests.data.lying_server import Home, serving
from workers.data.download import Patience, download
from workers.data.originals import Original

CONTENT = bytes(range(256)) * 40
SHA256 = hashlib.sha256(CONTENT).hexdigest()
HASTY = Patience(connect_s=2.0, stall_s=0.15, fruitless_tries=3, fruit_bytes=100, first_wait_s=0.0)


@pytest.fixture(scope="module")
def running() -> Iterator[Home]:
    with serving() as home:
        yield home


@pytest.fixture
def home(running: Home) -> Home:
    running.files, running.plays, running.requests = {"set.gz": CONTENT}, {}, []
    return running


def get(home: Home, folder: Path, **how: object) -> list[tuple[str, int, int | None]]:
    told: list[tuple[str, int, int | None]] = []
    said = {"num_bytes": len(CONTENT), "sha256": SHA256} | how
    original = Original(home.url("set.gz"), "set.gz", **said)  # type: ignore[arg-type]
    download(original, folder / "set.gz", tell=lambda *one: told.append(one), patience=HASTY)
    assert (folder / "set.gz").read_bytes() == CONTENT
    assert [path.name for path in folder.iterdir()] == ["set.gz"]
    return told


def test_a_file_comes_whole_and_its_progress_is_told(home: Home, tmp_path: Path) -> None:
    told = get(home, tmp_path)
    assert told[-1] == ("set.gz", len(CONTENT), len(CONTENT))
    assert home.requests == [("set.gz", None)]


def test_one_of_unknown_size_and_hash_comes_too(home: Home, tmp_path: Path) -> None:
    get(home, tmp_path, num_bytes=None, sha256=None)


@pytest.mark.parametrize("play", [server.breaks_after(4000), server.stalls_after(4000)])
def test_what_breaks_off_or_stalls_goes_on_where_it_was(home: Home, tmp_path: Path, play: server.Play) -> None:
    home.plays["set.gz"] = [play, server.breaks_after(3000), server.whole]
    get(home, tmp_path)
    assert home.requests == [("set.gz", None), ("set.gz", "bytes=4000-"), ("set.gz", "bytes=7000-")]


def test_what_another_command_left_is_gone_on_with(home: Home, tmp_path: Path) -> None:
    (tmp_path / "set.gz.partial").write_bytes(CONTENT[:5000])
    get(home, tmp_path)
    assert home.requests == [("set.gz", "bytes=5000-")]


def test_a_partial_file_that_is_whole_asks_for_nothing(home: Home, tmp_path: Path) -> None:
    (tmp_path / "set.gz.partial").write_bytes(CONTENT)
    get(home, tmp_path)
    assert home.requests == []


@pytest.mark.parametrize("play", [server.ignores_ranges, server.answers(416), server.answers(206, CONTENT[:9])])
def test_a_server_that_knows_no_ranges_or_wrong_ones_begins_anew(home: Home, tmp_path: Path, play: server.Play) -> None:
    (tmp_path / "set.gz.partial").write_bytes(CONTENT[:5000])
    home.plays["set.gz"] = [play, server.whole]
    get(home, tmp_path)


def test_bytes_from_another_place_than_asked_are_not_taken(home: Home, tmp_path: Path) -> None:
    (tmp_path / "set.gz.partial").write_bytes(CONTENT[:5000])
    size = len(CONTENT)
    lie = server.answers(206, CONTENT[4999:], Content_Range=f"bytes 4999-{size - 1}/{size}")
    home.plays["set.gz"] = [lie, server.whole]
    get(home, tmp_path)
    assert home.requests == [("set.gz", "bytes=5000-"), ("set.gz", None)]


def test_another_version_of_the_file_is_fetched_whole(home: Home, tmp_path: Path) -> None:
    (tmp_path / "set.gz.partial").write_bytes(b"x" * 5000)
    (tmp_path / "set.gz.partial.etag").write_text('"another"')
    get(home, tmp_path)
    assert len(home.requests) == 1


def test_two_halves_that_do_not_fit_are_fetched_once_more_in_one_piece(home: Home, tmp_path: Path) -> None:
    (tmp_path / "set.gz.partial").write_bytes(b"x" * 5000)
    get(home, tmp_path)
    assert home.requests == [("set.gz", "bytes=5000-"), ("set.gz", None)]


def test_a_redirect_is_followed(home: Home, tmp_path: Path) -> None:
    home.files["elsewhere"] = CONTENT
    home.plays["set.gz"] = [server.redirects_to("/elsewhere")]
    get(home, tmp_path)


def test_an_answer_of_busy_is_tried_again(home: Home, tmp_path: Path) -> None:
    home.plays["set.gz"] = [server.answers(503), server.answers(429), server.whole]
    get(home, tmp_path)


@pytest.mark.parametrize(
    ("play", "said"),
    [
        (server.answers(404), "answered 404"),
        (server.answers(403, b"pay first"), "answered 403"),
        (server.answers(500), "answered 500"),
        (server.answers(204), "answered 204"),
        (server.answers(200, b"<html>log in</html>"), "got a file of 19 bytes, allowed 10240"),
        (server.answers(200, CONTENT[::-1]), "sha256 got .* allowed"),
        (server.says_length(5), "got a file of 5 bytes, allowed 10240"),
        (server.says_length(99_999), "got a file of 99999 bytes, allowed 10240"),
        (server.breaks_after(0), "set.gz: "),
        (server.stalls_after(0), "does not answer|nothing came"),
        (server.trickles, "only [0-9]+ bytes came"),
        (server.redirects_to("/set.gz"), "redirects"),
        (server.redirects_to("ftp://127.0.0.1/set.gz"), "set.gz: "),
    ],
)
def test_what_does_not_come_is_said(home: Home, tmp_path: Path, play: server.Play, said: str) -> None:
    home.plays["set.gz"] = [play]
    with pytest.raises(FetchFailed, match=said):
        get(home, tmp_path)
    assert not (tmp_path / "set.gz").exists()


def test_a_stream_without_end_is_cut_off(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.data.originals.MOST_BYTES", 5000)
    with pytest.raises(FetchFailed, match="got more than 5000 bytes"):
        get(home, tmp_path, num_bytes=None, sha256=None)
    assert list(tmp_path.iterdir()) == []


def test_wrong_bytes_leave_nothing(home: Home, tmp_path: Path) -> None:
    home.plays["set.gz"] = [server.answers(200, CONTENT[::-1])]
    with pytest.raises(FetchFailed, match="nothing was kept"):
        get(home, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_came_before_it_broke_for_good_is_kept_and_said(home: Home, tmp_path: Path) -> None:
    home.plays["set.gz"] = [server.breaks_after(4000), server.breaks_after(0)]
    with pytest.raises(FetchFailed, match="4,000 bytes that came are kept, and the same command goes on"):
        get(home, tmp_path)
    home.plays["set.gz"] = [server.whole]
    get(home, tmp_path)
    assert home.requests[-1] == ("set.gz", "bytes=4000-")


def test_nobody_there_is_said(tmp_path: Path) -> None:
    with serving() as gone:
        url = gone.url("set.gz")
    original = Original(url, "set.gz", None, None)
    with pytest.raises(FetchFailed, match=r"set\.gz: .*refused"):
        download(original, tmp_path / "set.gz", tell=lambda *_: None, patience=HASTY)


def test_a_secure_home_may_not_redirect_to_an_insecure_one() -> None:
    import httpx

    from workers.data.download import _client

    with _client(Original("https://home.test/set.gz", "set.gz", None, None), HASTY) as client:
        (check,) = client.event_hooks["request"]
        check(httpx.Request("GET", "https://mirror.test/set.gz"))
        with pytest.raises(FetchFailed, match=r"redirects to http://mirror\.test/set\.gz, allowed https"):
            check(httpx.Request("GET", "http://mirror.test/set.gz"))
