"""The README's three steps to a new schedule, followed to the letter in a copy of the project."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from workers.schedules.registry import DECAYS, WHOLE

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
HEADING = "## Add a schedule in three steps"
USE = """
import schemas.schedules, schemas.warmups, numpy as np
from schemas.schedules import Schedule
from schemas.json_schema import study_json_schema
from workers.schedules import factors

assert schemas.schedules.__file__.startswith({copy!r}), schemas.schedules.__file__
spec = Schedule.model_validate({{"warmup": {{"kind": {kind!r}, "steps": 4}}, "decay": {{"kind": "constant"}}}})
print(*np.round(factors(spec, 6), 6))
assert {kind!r} in str(study_json_schema())
"""


def section(readme: Path) -> str:
    text = readme.read_text(encoding="utf-8")
    if HEADING not in text:
        pytest.skip(f"no section {HEADING!r} in {readme.name}")
    return text.split(HEADING)[1].split("\n## ")[0]


def steps(text: str) -> list[tuple[Path, str]]:
    """The file that each step names, and the code that it shows."""
    pieces = re.split(r"^\d\. ", text, flags=re.MULTILINE)[1:]
    places = [Path(re.search(r"`([\w/]+\.py)`", piece)[1]) for piece in pieces]
    codes = [textwrap.dedent(re.search(r"```python\n(.*?)```", piece, re.DOTALL)[1]) for piece in pieces]
    return list(zip(places, codes, strict=True))


def put_before(path: Path, anchor: str, code: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(anchor) == 1, f"{anchor!r} is the one place of {path.name} where this goes"
    path.write_text(text.replace(anchor, code + anchor), encoding="utf-8")


@pytest.fixture
def copy(tmp_path):
    """A project with a new schedule in it: (folder, its kind)."""
    (new_file, curve), (spec_file, spec), (registry_file, line) = steps(section(README))
    for room in ("schemas", "workers/schedules", "workers/plugins", "tests/schedules"):
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "workers" / "__init__.py", tmp_path / "workers")
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --import-mode=importlib -p no:cacheprovider\n", "utf-8")
    kind, name = new_file.stem, re.search(r"class (\w+)", spec)[1]
    # 1: the file
    assert not (tmp_path / new_file).exists()
    (tmp_path / new_file).write_text(curve, encoding="utf-8")
    # 2: the class, and its name in the union
    put_before(tmp_path / spec_file, "Warmup = Annotated[", f"{spec}\n\n")
    put_before(tmp_path / spec_file, " | SmoothnessLawWarmup", f" | {name}")
    # 3: the line, and the import
    put_before(tmp_path / registry_file, '}\n"""Curve over position', f"    {line}")
    put_before(tmp_path / registry_file, ")\n\nCurve =", f"    {kind},\n")
    return tmp_path, kind


def run(folder: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_three_steps_make_a_schedule_that_every_registry_wide_test_covers(copy):
    folder, kind = copy
    found = run(folder, "-c", USE.format(copy=str(folder), kind=kind))
    assert found.split() == ["0.15625", "0.5", "0.84375", "1.0", "1.0", "1.0"]
    listed = run(folder, "-m", "pytest", "-v", "tests/schedules/test_every_schedule.py", "-k", f"{kind} or every_kind")
    # one test of warmups, three of each pair with a decay, one of each decay that has a warmup of its own
    assert listed.count(f"{kind}] PASSED") == 1 + 3 * len(DECAYS) + len(WHOLE)
    assert "test_every_kind_of_the_spec_has_a_curve_and_every_curve_a_kind PASSED" in listed
