"""Spec files: one small YAML 1.2 document, or a refusal in one line; never a traceback or a full memory."""

import json
import math
import os
import threading
import time

import pytest

from schemas.errors import SpecError
from schemas.limits import Limits
from schemas.presets import preset_names
from schemas.study import parse_study
from service import spec_files
from service.spec_files import parse_document, read_document


def said(data, read=parse_document):
    with pytest.raises(SpecError) as refused:
        read(data)
    lines = [str(problem) for problem in refused.value.problems]
    assert all(line.isprintable() for line in lines)
    return lines


WORDS = {
    "no": "no", "yes": "yes", "on": "on", "y": "y", "1_000": "1_000", "0b1": "0b1", "12:30": "12:30",
    "2024-01-01": "2024-01-01", "=": "=", "1e": "1e", "0o8": "0o8", "+.nan": "+.nan", ".": ".", "nan": "nan",
    "true": True, "False": False, "~": None, "null": None, "": None,
    "1e-3": 0.001, "1E3": 1000.0, ".5": 0.5, "1.": 1.0, "-.5e+2": -50.0, "1e999": math.inf, "-.INF": -math.inf,
    "017": 17, "0o17": 15, "0x1F": 31, "+1": 1, "-0": 0, "'1'": "1", '"1e-3"': "1e-3",
}  # fmt: skip


@pytest.mark.parametrize(("word", "value"), WORDS.items())
def test_words_are_what_the_core_schema_of_yaml_1_2_says(word, value):
    found = parse_document(f"a: {word}")["a"]
    assert (type(found), found) == (type(value), value)


def test_nan_is_read_as_one_so_that_the_field_can_refuse_it():
    assert math.isnan(parse_document("a: .nan")["a"])


def test_a_yaml_1_1_directive_changes_no_word():
    assert parse_document("%YAML 1.1\n---\na: no\nb: 017\n") == {"a": "no", "b": 17}


def test_json_is_read_too():
    document = {"a": [1, 2.5, None, True, "é"], "b": {"c": 1e-8}}
    assert parse_document(json.dumps(document)) == document


def test_an_alias_is_a_copy():
    document = parse_document("a: &x {b: [1]}\nc: *x\n")
    assert document["a"] == document["c"]
    assert document["a"] is not document["c"]
    assert document["a"]["b"] is not document["c"]["b"]


BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{level}: &a{level} [{','.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 12)
)
MERGE_BOMB = "a0: &a0 {k0: 1}\n" + "".join(
    f"a{level}: &a{level} {{<<: [{','.join([f'*a{level - 1}'] * 9)}], k{level}: 1}}\n" for level in range(1, 12)
)
TOO_MANY = "file: got more than 200,000 values once aliases are written out, allowed at most 200,000"
TOO_DEEP = "file: got a document nested too deeply, allowed at most 50 levels"
REFUSED = {
    "duplicate keys": ("a: 1\na: 2\n", "line 2, column 1: got duplicate key"),
    "duplicate keys inside": ("x: {b: 1, b: 2}", "line 1, column 11: got duplicate key"),
    "duplicate keys in JSON": ('{"a": 1, "a": 2}', "line 1, column 10: got duplicate key"),
    "several documents": ("a: 1\n---\nb: 2\n", "line 2, column 1: got another document"),
    "html": ("<!DOCTYPE html>\n<html><body class=x>hi: there</body></html>", "line 2, column 23: got mapping values"),
    "bytes": (bytes(range(256)), "file: got bytes that are no UTF-8 at offset 128"),
    "utf-16": ("a: 1".encode("utf-16"), "file: got bytes that are no UTF-8 at offset 0"),
    "null bytes": (b"\x00\x01", "file: got unacceptable character"),
    "unfinished": ('a: "x', "line 1, column 6: got unexpected end of stream"),
    "tabs": ("a:\n\tb: 2", "line 2, column 1: got character '\\t' that cannot start any token"),
    "unknown alias": ("a: *b", "line 1, column 4: got undefined alias 'b'"),
    "bomb": (BOMB, TOO_MANY),
    "merge bomb": (MERGE_BOMB, TOO_MANY),
    "alias to itself": ("a: &a [*a]", TOO_MANY),
    "mapping that holds itself": ("a: &a {b: *a}", TOO_MANY),
    "deep": ("[" * 60 + "]" * 60, TOO_DEEP),
    "deeper than any stack": ("[" * 20_000, TOO_DEEP),
    "too large": ("a: " + "x" * 1_000_000, "spec_bytes: got 1000003, allowed at most 1000000"),
    "too large in bytes": ("a: " + "é" * 500_000, "spec_bytes: got 1000003, allowed at most 1000000"),
    "a number as a key": ("a: {1: b}", "a.1: got a key that is a number, allowed keys that are text"),
    "a list as a key": ("? [1, 2]\n: c", "'(1, 2)': got a key that is no plain text, allowed keys that are text"),
    "python object": ("a: !!python/object/apply:os.system [x]", "line 1, column 4: got could not determine"),
    "own tag": ("a: !foo bar", "line 1, column 4: got could not determine a constructor"),
    "date by tag": ("a: !!timestamp 2024-01-01", "a: got datetime.date(2024, 1, 1), allowed a mapping"),
    "binary by tag": ("a: !!binary aGVsbG8=", "a: got b'hello', allowed a mapping"),
    "number that is none": ("a: !!int foo", "file: got invalid literal"),
    "integer of 5,000 digits": ("a: " + "9" * 5000, "line 1, column 4: got a number of 5000 digits"),
    "integer of 20,000 bits": ("a: [0x" + "f" * 5000 + "]", "a[0]: got an integer of 20000 bits, allowed integers"),
    "half a character": ('a: "\\ud800"', "a: got '\\ud800', allowed"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "expected"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_document_is_refused_in_one_line(data, expected):
    started = time.process_time()
    (line,) = said(data)
    assert line.startswith(expected)
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    ("text", "got"),
    [("", "nothing"), ("# nothing but a comment", "nothing"), ("hello", "'hello'"), ("- 1", "[1]"), ("3", "3")],
)
def test_a_document_that_is_no_mapping_is_no_study(text, got):
    with pytest.raises(SpecError) as refused:
        parse_study(parse_document(text))
    assert [str(problem) for problem in refused.value.problems] == [f"study: got {got}, allowed a mapping"]


def test_an_anchor_may_be_used_again():
    assert parse_document("a: &x 1\nb: &x 2\nc: *x\n") == {"a": 1, "b": 2, "c": 2}


def test_every_bad_key_and_value_is_said_at_once():
    assert len(said("1: a\nb: {2.5: c}\nd: !!binary aGVsbG8=")) == 3


def test_an_operator_may_set_another_limit_of_bytes():
    with pytest.raises(SpecError, match="spec_bytes: got 5, allowed at most 4"):
        parse_document("a: 12", Limits(spec_bytes=4))


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_is_read_by_its_name(name):
    assert read_document(name)["name"] == name


def test_a_file_beside_a_preset_s_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quickstart").write_text("name: mine", encoding="utf-8")
    assert read_document("quickstart") == {"name": "mine"}


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / "s.yaml").write_bytes("\ufeffa: 1".encode())
    assert read_document(str(tmp_path / "s.yaml")) == {"a": 1}


def test_a_place_that_is_no_file_is_refused(tmp_path):
    (missing,) = said("quickstrt", read_document)
    assert missing == "file: got 'quickstrt', allowed a file, or a preset: " + (
        ", ".join(preset_names()) + " (did you mean quickstart?)"
    )
    assert said(str(tmp_path), read_document)[0].endswith("Is a directory, allowed a file that can be read")
    assert said("a\0b", read_document)[0].endswith("embedded null byte, allowed a file that can be read")
    assert said("x" * 5000, read_document)[0].endswith("File name too long, allowed a file that can be read")


def test_a_file_is_never_read_beyond_the_limit(tmp_path):
    large = tmp_path / "large.yaml"
    with large.open("wb") as file:
        file.truncate(10**10)  # sparse: nothing is written
    assert said(str(large), read_document) == ["spec_bytes: got 10000000000, allowed at most 1000000"]
    assert said("/dev/zero", read_document) == ["spec_bytes: got 1000001, allowed at most 1000000"]


def test_a_pipe_is_read_to_its_end_and_one_that_nobody_writes_to_is_refused(tmp_path, monkeypatch):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    monkeypatch.setattr(spec_files, "PIPE_WAIT_S", 0.1)
    assert said(str(pipe), read_document) == [
        f"file: got {str(pipe)!r:.57}...: a pipe that nothing came through for 0.1 s, allowed a file that can be read"
    ]
    monkeypatch.setattr(spec_files, "PIPE_WAIT_S", 10.0)
    writer = threading.Thread(target=pipe.write_bytes, args=(b"a: " + b"x" * 100_000,))
    writer.start()
    assert read_document(str(pipe)) == {"a": "x" * 100_000}
    writer.join()
