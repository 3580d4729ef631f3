"""Spec files: one small YAML 1.2 document, or a refusal in one line; never a traceback or a full memory."""

import json
import math
import os
import threading
import time
from contextlib import suppress

import pytest
import yaml

from schemas.errors import SpecError
from schemas.limits import Limits
from schemas.presets import preset_names
from schemas.study import parse_study
from service import spec_files, yaml_reader
from service.bodies import parse_json
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
    "html": (
        "<!DOCTYPE html>\n<html><body class=x>hi: there</body></html>",
        "line 2, column 23: got mapping values where none may stand, allowed",
    ),
    "bytes": (bytes(range(256)), "file: got bytes that are no UTF-8 at offset 128"),
    "utf-16": ("a: 1".encode("utf-16"), "file: got bytes that are no UTF-8 at offset 0"),
    "null bytes": (b"\x00\x01", "file: got unacceptable character"),
    "a list that is not closed": ("a: [1\nb: 2", "line 2, column 2: got no ',' or ']' where one is expected, allowed"),
    "unfinished": ('a: "x', "line 1, column 6: got unexpected end of stream"),
    "tabs": ("a:\n\tb: 2", "line 2, column 1: got character that cannot start any token"),
    "unknown alias": ("a: *b", "line 1, column 4: got undefined alias b"),
    "bomb": (BOMB, TOO_MANY),
    "merge bomb": (MERGE_BOMB, TOO_MANY),
    "alias to itself": ("a: &a [*a]", TOO_MANY),
    "mapping that holds itself": ("a: &a {b: *a}", TOO_MANY),
    "deep": ("[" * 60 + "]" * 60, TOO_DEEP),
    "deeper than any stack": ("[" * 20_000, TOO_DEEP),
    "too large": ("a: " + "x" * 1_000_000, "spec_bytes: got 1000003, allowed at most 1000000"),
    "too large in bytes": ("a: " + "é" * 500_000, "spec_bytes: got 1000003, allowed at most 1000000"),
    "a number as a key": ("a: {1: b}", "a.1: got a key that is a number, allowed keys that are text"),
    "a list as a key": ("? [1, 2]\n: c", "line 1, column 3: got a key that is a list or a mapping"),
    "python object": ("a: !!python/object/apply:os.system [x]", "line 1, column 4: got the tag 'tag:yaml"),
    "own tag": ("a: !foo bar", "line 1, column 4: got the tag '!foo', allowed no tag, or one of"),
    "date by tag": ("a: !!timestamp 2024-01-01", "line 1, column 4: got the tag 'tag:yaml.org,2002:timestamp'"),
    "binary by tag": ("a: !!binary aGVsbG8=", "line 1, column 4: got the tag 'tag:yaml.org,2002:binary'"),
    "number that is none": ("a: !!int foo", "line 1, column 4: got 'foo', which is no int"),
    "integer of 5,000 digits": ("a: " + "9" * 5000, "line 1, column 4: got a number of 5000 digits"),
    "integer of 20,000 bits": ("a: [0x" + "f" * 5000 + "]", "a[0]: got an integer of 20000 bits, allowed integers"),
    "a mapping of a list's tag": ("a: !!seq {b: 1}", "line 1, column 4: got the tag 'tag:yaml.org,2002:seq'"),
    "a list of a mapping's tag": ("a: !!map [b]", "line 1, column 4: got the tag 'tag:yaml.org,2002:map'"),
    "half a character": ('a: "\\ud800"', "line 1, column 7: got invalid Unicode character"),
}  # fmt: skip


@pytest.mark.parametrize(("data", "expected"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_document_is_refused_in_one_line(data, expected):
    started = time.process_time()
    (line,) = said(data)
    assert line.startswith(expected)
    assert time.process_time() - started < 20


MB = 1_000_000


def whole(part, *, first=""):
    """A megabyte of it."""
    return first + part * ((MB - len(first)) // len(part))


def numbered(line, count):
    return "".join(line.format(n=n) for n in range(count))


HOSTILE = {
    "lists inside lists": whole("["),
    "mappings inside mappings": whole("a: {"),
    "JSON mappings inside mappings": whole('{"a":'),
    "items inside items": whole("- "),
    "keys inside keys": whole("? "),
    "deep by indentation": "".join(" " * n + "a:\n" for n in range(1_400)),
    "short items": whole("- a\n"),
    "short items in a line": whole("a,", first="["),
    "empty items": whole("-\n"),
    "keys": numbered("k{n}: 1\n", 90_000),
    "the same key": whole("a: 1\n"),
    "anchors": numbered("- &a{n} x\n", 66_000),
    "one anchor again and again": whole("- &a x\n"),
    "aliases": whole("- *a\n", first="- &a x\n"),
    "aliases in a line": whole("*a,", first="- &a x\n- ["),
    "aliases of aliases": "a0: &a0 [x]\n" + "".join(
        f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 30_000)
    ),
    "aliases of a long text": whole("*a,", first="- &a " + "x" * 300_000 + "\n- ["),
    "many aliases of a text": whole("*a,", first="- &a " + "x" * 2_000 + "\n- ["),
    "undefined aliases": whole("- *a\n"),
    "merge keys": whole("- {<<: *a}\n", first="- &a {b: 1}\n"),
    "tabs": whole("\t"),
    "tabs between": whole("a:\t1,", first="["),
    "spaces": whole(" "),
    "lines": whole("\n"),
    "comments": whole("#\n"),
    "a word": whole("x"),
    "a number": whole("9"),
    "a number's sign": whole("+"),
    "an octal number": whole("7", first="0o"),
    "numbers": whole("1e9,", first="["),
    "a quoted text": whole("x", first='"'),
    "escapes": whole("\\x41", first='"')[:-4] + '"',
    "single quotes": whole("''"),
    "a text of lines": whole("x\n", first="a: |\n "),
    "a folded text": whole(" x\n\n", first="a: >\n"),
    "question marks": whole("?"),
    "colons": whole(":"),
    "colons and spaces": whole(": "),
    "tags": whole("!!str "),
    "a long tag": whole("!", first="!<") + ">",
    "directives": numbered("%TAG !t{n}! x\n", 55_000),
    "documents": whole("---\n"),
    "ends of documents": whole("...\n"),
    "byte order marks": whole("\ufeff")[: MB // 3],
    "null bytes": whole("\0"),
    "backslashes": whole("\\"),
    "percent signs": whole("%"),
}  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize(
    "read", [parse_document, lambda text: parse_json(text.encode(), Limits())], ids=["yaml", "json"]
)
def test_a_megabyte_that_is_made_to_be_slow_is_read_or_refused_in_two_seconds(text, read):
    assert len(text.encode()) > MB // 2
    began = time.process_time()
    with suppress(SpecError):
        read(text)
    assert time.process_time() - began < 10


def test_a_megabyte_of_yaml_that_a_study_could_be_is_read_as_its_json_is():
    rows = [{f"key{n}": [n, n / 7, "a text", None]} for n in range(16_000)]
    text = "rows:\n" + "".join(f"- key{n}:\n  - {n}\n  - {n / 7}\n  - a text\n  - null\n" for n in range(16_000))
    assert 900_000 < len(text) <= MB
    began = time.process_time()
    assert parse_document(text) == {"rows": rows}
    assert time.process_time() - began < 10


def test_a_chain_of_aliases_is_as_deep_as_it_is_written_out():
    chain = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 60))
    assert said(chain) == [TOO_DEEP]


@pytest.mark.proof
def test_keys_are_no_values_and_as_many_values_are_read_as_are_allowed():
    most = spec_files.MAX_NODES
    assert len(parse_document("[" + "1," * (most - 1) + "]")) == most - 1
    assert said("[" + "1," * most + "]") == [TOO_MANY]
    assert len(parse_document("".join(f"k{n}: 1\n" for n in range(90_000)))) == 90_000


def test_without_libyaml_the_same_is_read_and_refused(monkeypatch):
    text, bad = "a: &x {b: [1, 0x1F, no]}\nc: *x\n", "x: {b: 1, b: 2}"
    fast, refused = parse_document(text), said(bad)
    monkeypatch.setattr(yaml_reader, "_READER", yaml.SafeLoader)
    assert (parse_document(text), said(bad)) == (fast, refused)


def test_without_libyaml_too_what_is_missing_reads_on_after_got(monkeypatch):
    monkeypatch.setattr(yaml_reader, "_READER", yaml.SafeLoader)
    (line,) = said("a: [1\nb: 2")
    assert "got no ',' or ']' where one is expected, allowed one YAML" in line


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
    assert len(said("1: a\nb: {2.5: c}\nd: 0x" + "f" * 300)) == 3


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
