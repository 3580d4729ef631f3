"""The reader of server-sent events, however the bytes are cut."""

import pytest

from service.client.sse import Message, read_messages


def read(text: bytes, size: int = 10_000) -> list[Message]:
    return list(read_messages(text[at : at + size] for at in range(0, len(text), size)))


def test_a_message_is_its_id_its_kind_and_its_data() -> None:
    assert read(b'id: 7\nevent: trial_done\ndata: {"a": 1}\n\n') == [Message("7", "trial_done", '{"a": 1}')]


def test_keep_alives_and_unknown_fields_are_no_messages() -> None:
    assert read(b": ping\n\nretry: 100\n\n: ping\n\ndata: x\n\n") == [Message("", "", "x")]


def test_a_message_that_the_end_cuts_off_is_left_out() -> None:
    assert read(b"id: 1\ndata: whole\n\nid: 2\ndata: cut\n") == [Message("1", "", "whole")]


def test_only_newlines_and_returns_end_a_line() -> None:
    text = "data: a\u2028b\u0085c\x0bd\r\ndata: e\rdata: f\n\n"
    assert read(text.encode()) == [Message("", "", "a\u2028b\u0085c\x0bd\ne\nf")]


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_the_pieces_in_which_it_comes_make_no_difference(size: int) -> None:
    text = "\ufeffid: 1\r\nevent: k\r\ndata: größe\r\ndata: €\r\n\r\ndata:x\n\n".encode()
    assert read(text, size) == read(text) == [Message("1", "k", "größe\n€"), Message("1", "", "x")]
