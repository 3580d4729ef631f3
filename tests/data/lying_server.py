"""A home of data sets on this machine that stalls, breaks off, lies and redirects, as the test says."""

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Play = Callable[["Handler", bytes], None]


class Handler(BaseHTTPRequestHandler):
    """Answers the n-th request for a file by the n-th of its plays; the last one is played again and again."""

    protocol_version = "HTTP/1.1"
    server: "Home"

    def do_GET(self) -> None:
        name = self.path.lstrip("/")
        self.server.requests.append((name, self.headers.get("Range")))
        plays = self.server.plays.get(name, [whole])
        self.close_connection = True
        (plays.pop(0) if len(plays) > 1 else plays[0])(self, self.server.files.get(name, b""))

    def answer(self, status: int, body: bytes = b"", length: int | None = None, **headers: str) -> None:
        """Headers and body; `length` is what is said of its length."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.send_header("Connection", "close")
        for header, value in headers.items():
            self.send_header(header.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Home(ThreadingHTTPServer):
    """The files that it has, how it answers, and what was asked of it: (file, Range header)."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.plays: dict[str, list[Play]] = {}
        self.requests: list[tuple[str, str | None]] = []
        self.closing = threading.Event()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"


@contextmanager
def serving() -> Iterator[Home]:
    home = Home()
    thread = threading.Thread(target=home.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield home
    finally:
        home.closing.set()
        home.shutdown()
        home.server_close()
        thread.join()


def whole(handler: Handler, content: bytes) -> None:
    """As a good server: whole, or from the asked byte on."""
    found = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
    tag = f'"{len(content)}"'
    if found is None or handler.headers.get("If-Range", tag) != tag:
        handler.answer(200, content, ETag=tag)
    elif int(found[1]) >= len(content):
        handler.answer(416, Content_Range=f"bytes */{len(content)}")
    else:
        start = int(found[1])
        said = f"bytes {start}-{len(content) - 1}/{len(content)}"
        handler.answer(206, content[start:], Content_Range=said, ETag=tag)


def breaks_after(count: int) -> Play:
    """`count` bytes more, then the connection ends."""

    def play(handler: Handler, content: bytes) -> None:
        found = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        start = int(found[1]) if found else 0
        said = {"Content_Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if found else {}
        handler.answer(206 if found else 200, content[start : start + count], len(content) - start, **said)

    return play


def stalls_after(count: int) -> Play:
    """`count` bytes, then nothing, and the connection stays."""

    def play(handler: Handler, content: bytes) -> None:
        breaks_after(count)(handler, content)
        handler.wfile.flush()
        handler.server.closing.wait(10)

    return play


def trickles(handler: Handler, content: bytes) -> None:
    """A byte now and then, for ever."""
    handler.answer(200, b"", len(content))
    for index in range(len(content)):
        if handler.server.closing.wait(0.02):
            return
        try:
            handler.wfile.write(content[index : index + 1])
            handler.wfile.flush()
        except OSError:
            return


def ignores_ranges(handler: Handler, content: bytes) -> None:
    """Whole, whatever was asked."""
    handler.answer(200, content)


def answers(status: int, body: bytes = b"", **headers: str) -> Play:
    """Always the same."""
    return lambda handler, content: handler.answer(status, body, **headers)


def says_length(length: int) -> Play:
    """All bytes under another Content-Length."""
    return lambda handler, content: handler.answer(200, content, length)


def redirects_to(url: str) -> Play:
    """Elsewhere."""
    return answers(302, Location=url)
