"""Reads a stream of server-sent events (WHATWG HTML, 9.2.6) from its bytes."""

import codecs
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Message:
    """One message; `id` is the last that the stream has named so far."""

    id: str
    event: str
    data: str


def read_messages(pieces: Iterable[bytes]) -> Iterator[Message]:
    """The messages of a stream. One that the end cuts off is left out; comments (keep-alives) are no messages."""
    last_id, event, data = "", "", list[str]()
    for line in _lines(pieces):
        if not line:
            if data:
                yield Message(last_id, event, "\n".join(data))
            event, data = "", []
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "id" and "\0" not in value:
            last_id = value
        elif name == "event":
            event = value
        elif name == "data":
            data.append(value)


def _lines(pieces: Iterable[bytes]) -> Iterator[str]:
    # Not str.splitlines: U+2028 and its like end no line here, and may stand in the data.
    decode = codecs.getincrementaldecoder("utf-8-sig")("replace").decode
    parts: list[str] = []
    after_return = False
    for piece in pieces:
        text = decode(piece)
        if after_return and text:
            text, after_return = text.removeprefix("\n"), False
        after_return = after_return or text.endswith("\r")
        *whole, rest = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        for line in whole:
            yield "".join(parts) + line
            parts = []
        parts.append(rest)
