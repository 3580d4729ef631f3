"""What the README says is so: its commands exist, its study is valid, its picture is there."""

import re
from pathlib import Path

import pytest
import typer.main

from schemas.study import parse_study
from service.cli.main import app
from service.spec_files import parse_document

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


def test_every_make_target_it_names_is_in_the_makefile():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(re.findall(r"(?:`|^)make ([a-z]+)", README, flags=re.MULTILINE))
    assert {"demo", "test", "check", "bench", "golden"} <= named
    assert {target for target in named if not re.search(rf"^{target}:", makefile, flags=re.MULTILINE)} == set()


def test_every_command_it_names_is_a_command():
    known = set(typer.main.get_command(app).commands)
    rows = re.findall(r"^\| (`[^|]+) \| .* \|$", README, flags=re.MULTILINE)
    named = {words.split()[0] for row in rows for words in re.findall(r"`([a-z]+(?: [^`]*)?)`", row)}
    run = set(re.findall(r"\.venv/bin/warmup-bench ([a-z]+)", README))
    assert run <= known
    assert (named & known) == known, "every command is in the table"


def test_its_study_is_valid():
    [text] = blocks("yaml")
    study = parse_study(parse_document(text))
    assert [variant.name for variant in study.variants("schedules")] == [
        "none",
        "linear warmup.steps=10",
        "linear warmup.steps=40",
    ]
    assert study.num_trials() == 1 * 1 * 3 * 5 * 5


@pytest.mark.parametrize("path", re.findall(r"\]\(([^):]+)\)", README))
def test_every_file_it_links_to_is_there(path):
    assert (ROOT / path).is_file()
