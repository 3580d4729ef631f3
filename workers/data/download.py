"""One file over HTTP to the disk: whole, right, and continued where it broke off. The other side may lie."""

import contextlib
import hashlib
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from schemas.errors import FetchFailed
from workers.data.originals import Original

MAX_REDIRECTS = 5
Tell = Callable[[str, int, int | None], None]
"""Is told of a file: its name, the bytes that are here, and the bytes that there will be (None: not known)."""


@dataclass(frozen=True)
class Patience:
    """When a connection counts as broken, and how often one is made anew."""

    connect_s: float = 15.0
    stall_s: float = 30.0
    """So long fewer than `least_bytes` may come."""
    least_bytes: int = 4_096
    fruitless_tries: int = 5
    """So many in a row that bring less than `fruit_bytes` (and not the rest) are the last."""
    fruit_bytes: int = 2**20
    first_wait_s: float = 1.0
    """Before a second try; doubled with each fruitless one."""
    sleep: Callable[[float], None] = time.sleep


class _Broken(Exception):
    """It broke off, and may go better when it is tried again."""


def download(original: Original, target: Path, *, tell: Tell, patience: Patience) -> None:
    """Bring a file to `target`. What came before it broke off lies beside it, as `NAME.partial`, for the next time.

    Raises:
        FetchFailed: it does not come, or is another file than it should be (then nothing of it stays).
        OSError: the disk does not take it.
    """
    partial = target.with_name(f"{target.name}.partial")
    was_resumed = _size(partial) > 0
    with _client(original, patience) as client:
        while True:
            was_resumed |= _come_whole(client, original, partial, tell, patience)
            got = file_sha256(partial)
            if original.sha256 is None or got == original.sha256:
                partial.replace(target)
                _version_of(partial).unlink(missing_ok=True)
                return
            _forget(partial)
            if not was_resumed:
                raise FetchFailed(
                    f"{original.url}: sha256 got {got}, allowed {original.sha256}; nothing was kept of it"
                )
            # Halves of two versions of the file look so: once more, in one piece.
            was_resumed = False


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _come_whole(client: httpx.Client, original: Original, partial: Path, tell: Tell, patience: Patience) -> bool:
    """Try until all bytes are here; whether they came in several pieces."""
    fruitless, pieces = 0, 0
    while True:
        before = _size(partial)
        try:
            pieces += 1
            _one_try(client, original, partial, tell, patience)
            return pieces > 1
        except (_Broken, httpx.TransportError) as error:
            came = _size(partial) - before
            fruitless = 0 if came >= patience.fruit_bytes else fruitless + 1
            if fruitless >= patience.fruitless_tries:
                raise FetchFailed(_gave_up(original, error, partial)) from error
            patience.sleep(patience.first_wait_s * 2**fruitless / 2)
        except httpx.HTTPError as error:
            raise FetchFailed(f"{original.url}: {error}") from error


def _one_try(client: httpx.Client, original: Original, partial: Path, tell: Tell, patience: Patience) -> None:
    offset = _size(partial)
    if offset > original.most_bytes:
        _forget(partial)
        offset = 0
    if offset and offset == original.num_bytes:
        return
    with client.stream("GET", original.url, headers=_range(partial, offset)) as response:
        offset, total = _answered_from(response, original, partial, offset)
        if not offset:
            _note_version(response, partial)
        with partial.open("ab" if offset else "wb") as file:
            for chunk in _chunks(response, patience):
                offset += len(chunk)
                if offset > original.most_bytes:
                    file.close()
                    _forget(partial)
                    raise FetchFailed(f"{original.url}: got more than {original.most_bytes} bytes, allowed no more")
                file.write(chunk)
                tell(original.file, offset, total)
    if total is not None and offset < total:
        raise _Broken(f"it ended after {offset} of {total} bytes")


def _answered_from(response: httpx.Response, original: Original, partial: Path, offset: int) -> tuple[int, int | None]:
    """Where the bytes of an answer begin, and how many there are in all (None: not said)."""
    status = response.status_code
    if status == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and offset:
        _forget(partial)
        raise _Broken("what is here is not part of it; beginning anew")
    if status in (408, 425, 429) or status >= 500:
        raise _Broken(f"it answered {status} {response.reason_phrase}")
    if status == httpx.codes.PARTIAL_CONTENT:
        start, total = _content_range(response)
        if start != offset:
            _forget(partial)
            raise _Broken(f"it sent bytes from {start} on instead of from {offset}")
    elif status == httpx.codes.OK:
        offset, total = 0, _content_length(response)
    else:
        raise FetchFailed(f"{original.url}: it answered {status} {response.reason_phrase}")
    if original.num_bytes is not None and total not in (None, original.num_bytes):
        raise FetchFailed(f"{original.url}: got a file of {total} bytes, allowed {original.num_bytes}")
    return offset, original.num_bytes or total


def _content_range(response: httpx.Response) -> tuple[int | None, int | None]:
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if found is None:
        return None, None
    return int(found[1]), None if found[2] == "*" else int(found[2])


def _content_length(response: httpx.Response) -> int | None:
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isdecimal() else None


def _chunks(response: httpx.Response, patience: Patience) -> Iterator[bytes]:
    """The bytes as they are on the wire: a `.gz` that is served with a Content-Encoding stays one."""
    since, came = time.monotonic(), 0
    for chunk in response.iter_raw():  # as they come: bytes that wait for a full chunk are lost when it breaks off
        came += len(chunk)
        if (now := time.monotonic()) - since >= patience.stall_s:
            if came < patience.least_bytes:
                raise _Broken(f"only {came} bytes came in {now - since:.0f} s")
            since, came = now, 0
        yield chunk


def _client(original: Original, patience: Patience) -> httpx.Client:
    is_secure = original.url.startswith("https://")

    def stay_secure(request: httpx.Request) -> None:
        if is_secure and request.url.scheme != "https":
            raise FetchFailed(f"{original.url}: it redirects to {request.url}, allowed https alone")

    return httpx.Client(
        follow_redirects=True,
        max_redirects=MAX_REDIRECTS,
        timeout=httpx.Timeout(patience.stall_s, connect=patience.connect_s),
        headers={"User-Agent": "warmup-bench", "Accept-Encoding": "identity"},
        event_hooks={"request": [stay_secure]},
    )


def _range(partial: Path, offset: int) -> dict[str, str]:
    if not offset:
        return {}
    with contextlib.suppress(OSError):
        # With another version of the file there, the answer is the whole of it.
        return {"Range": f"bytes={offset}-", "If-Range": _version_of(partial).read_text(encoding="ascii")}
    return {"Range": f"bytes={offset}-"}


def _note_version(response: httpx.Response, partial: Path) -> None:
    tag = response.headers.get("ETag", "")
    if tag.startswith('"') and tag.isascii():  # a weak one says nothing of bytes
        _version_of(partial).write_text(tag, encoding="ascii")
    else:
        _version_of(partial).unlink(missing_ok=True)


def _version_of(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.etag")


def _forget(partial: Path) -> None:
    partial.unlink(missing_ok=True)
    _version_of(partial).unlink(missing_ok=True)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _gave_up(original: Original, error: Exception, partial: Path) -> str:
    why = str(error) or type(error).__name__
    if isinstance(error, httpx.TimeoutException):
        why = "nothing came any more" if _size(partial) else "it does not answer"
    kept = f"; the {_size(partial):,} bytes that came are kept, and the same command goes on" if _size(partial) else ""
    return f"{original.url}: {why}{kept}"
