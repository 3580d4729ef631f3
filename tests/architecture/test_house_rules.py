"""The rules of the house that a machine can check: who imports whom, nothing happens at import, files stay small."""

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from schemas.functions import AnalyticFunction
from schemas.optimizers import Optimizer
from schemas.probes import Probe
from schemas.schedules import Decay, Optimum, Warmup
from schemas.workloads import Workload

ROOT = Path(__file__).parents[2]
ROOMS = ("schemas", "workers", "service")
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
HEAVY = {"torch", "ray", "mlflow", "matplotlib", "plotly", "pandas", "scipy", "sklearn", "fastapi"}


@pytest.mark.slow
def test_the_import_contracts_are_kept():
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([program, "--no-logo"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 broken" in done.stdout


@pytest.mark.parametrize(
    ("modules", "also_absent"),
    [
        ("schemas.study schemas.json_schema schemas.presets", {"numpy", "sqlalchemy", "pyarrow", "ruamel.yaml"}),
        ("workers.planning workers.schedules workers.laws", {"sqlalchemy", "pyarrow"}),
        ("service.spec_files service.cli.main", {"numpy", "sqlalchemy", "pyarrow"}),
        ("workers.ledger.ledger workers.studies workers.launcher", set()),
    ],
)
def test_importing_loads_nothing_heavy(modules, also_absent):
    script = f"import sys, {modules.replace(' ', ', ')}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert not (HEAVY | also_absent) & set(done.stdout.split())


ALONE = """
import importlib, pkgutil, sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent}:
            raise ImportError(name)
sys.meta_path.insert(0, Nothing())
import workers.science
for module in pkgutil.walk_packages(workers.science.__path__, "workers.science."):
    importlib.import_module(module.name)
"""


@pytest.mark.slow
def test_science_is_imported_where_there_is_no_ray_mlflow_or_sql():
    absent = HEAVY - {"torch"} | {"sqlalchemy", "alembic", "pyarrow", "fsspec", "ruamel", "structlog", "typer", "rich"}
    done = subprocess.run(
        [sys.executable, "-c", ALONE.format(absent=absent)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_says_what_it_is_for_and_stays_readable(path):
    text = path.read_text(encoding="utf-8")
    docstring = ast.get_docstring(ast.parse(text)) or ""
    assert docstring, "the first line says which question the file answers"
    assert len(text.splitlines()) <= 400, "a file over 400 lines is two files"
    assert not re.search(r"\b(TODO|FIXME|XXX)\b", text)


def classes(union):
    members = get_args(get_args(union)[0]) if get_args(union) else (union,)
    return list(members)


@pytest.mark.parametrize("union", [Workload, AnalyticFunction, Optimizer, Warmup, Decay, Optimum, Probe])
def test_every_kind_says_what_it_is(union):
    for one in classes(union):
        assert one.__doc__, one.__name__
        assert len(one.__doc__) > 10, one.__name__


def test_columns_of_metrics_are_named_in_one_place():
    """`final_` and `best_` with a metric are columns of schemas/records.py; science names its loop's own state so."""
    typed = re.compile(r"""["'](final|best)_(train|validation|test)_\w+["']""")
    found = {str(path.relative_to(ROOT)) for path in SOURCES if typed.search(path.read_text(encoding="utf-8"))}
    found = {place for place in found if not place.startswith("workers/science/")}
    assert found == set()
