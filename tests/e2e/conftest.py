"""Studies that several tests look at: each is run once."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.commands import Ended, as_file, command
from tests.e2e.specs import digits

HOSTILE = "raise RuntimeError('a folder of the user was imported')\n"


@dataclass(frozen=True)
class Ran:
    """One `warmup-bench run` and where its things lie."""

    ended: Ended
    cwd: Path
    home: Path
    out: Path
    spec: Path


def make_hostile(folder: Path) -> Path:
    """A folder whose own packages have our packages' names and must not be imported."""
    for name in ("schemas", "workers", "service", "torch", "ray"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(HOSTILE)
    return folder


@pytest.fixture(scope="session")
def cosh(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The preset, run from inside a hostile folder, with spaces and letters beyond ASCII in every path."""
    cwd = make_hostile(tmp_path_factory.mktemp("mein projekt ü"))
    home, out = cwd / "hôme 100%", cwd / "out put é"
    done = command("run", "cosh-wall", "--home", home, "--out", out, cwd=cwd, PYTHONPATH=str(cwd))
    return Ran(done, cwd, home, out, cwd)


@pytest.fixture(scope="session")
def one_worker(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """A small study on one worker, tracked, its records in a folder given by a relative path.

    Its environment asks for more threads than a trainer may use.
    """
    flags = ("--workers", "1", "--records", "records of mine")
    return _small(tmp_path_factory.mktemp("one"), *flags, OMP_NUM_THREADS="4")


@pytest.fixture(scope="session")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The same study on two workers, not tracked."""
    return _small(tmp_path_factory.mktemp("two"), "--workers", "2", "--tracking-uri", "none", "--json")


def _small(cwd: Path, *flags: str, **more: str) -> Ran:
    spec = as_file(digits(60), cwd / "small.yaml")
    done = command("run", spec.name, "--home", "home", "--out", "out", *flags, cwd=cwd, **more)
    return Ran(done, cwd, cwd / "home", cwd / "out", spec)
