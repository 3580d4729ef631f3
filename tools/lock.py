"""Writes the lock files of the image: name, version and hash of every package that it installs.

Two files, because torch is two packages of one name: `2.13.0+cpu` is 200 MB by itself, `2.13.0` brings CUDA's libraries
with it, and no hash fits both. All else is the same version in both. Run by `make lock` where the image would be built:
Linux on x86_64 with the image's Python. Which index is asked, pip's own configuration says.
"""

import hashlib
import json
import platform
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

ROOT = Path(__file__).parents[1]
EXTRAS = ("postgres", "s3")
BUILD = ["setuptools>=77"]
"""What builds this project's own wheel inside the image, where no index is asked any more."""
TORCH = {"cuda": "torch===2.13.0", "cpu": "torch===2.13.0+cpu"}
PYTHON = (3, 11)
HEADER = """\
# Written by `make lock`; not to be edited. Linux, x86_64, CPython {python}, torch for {accelerator}.
# pip install --no-deps --require-hashes --only-binary=:all: -r requirements-{accelerator}.lock
"""


def main() -> int:
    """Exit status: 2 where the lock would be that of another platform."""
    here = (sys.version_info[:2], sys.platform, platform.machine())
    if here != (PYTHON, "linux", "x86_64"):
        sys.stderr.write(f"lock: the image is Linux on x86_64 with Python {PYTHON[0]}.{PYTHON[1]}; this is {here}\n")
        return 2
    pins: list[str] = []
    for accelerator, torch in TORCH.items():
        found = resolve([*asked(), *BUILD, torch], pins)
        # The other one is to be the same but for torch and what torch brings.
        pins = [f"{name}=={version}" for name, version, _ in found if name != "torch"]
        path = ROOT / f"requirements-{accelerator}.lock"
        lines = [
            f"{name}{'===' if '+' in version else '=='}{version} --hash=sha256:{sha}" for name, version, sha in found
        ]
        header = HEADER.format(accelerator=accelerator, python=".".join(map(str, PYTHON)))
        path.write_text(header + "\n".join(lines) + "\n", encoding="utf-8")
        print(f"{path.name}: {len(found)} packages")
    return 0


def asked() -> list[str]:
    """The project's own requirements, with those of the extras that are in the image."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [line for extra in EXTRAS for line in project["optional-dependencies"][extra]]
    return [*project["dependencies"], *extras]


def resolve(requirements: list[str], constraints: list[str]) -> list[tuple[str, str, str]]:
    """(name, version, sha256) of what pip would install into an empty environment, by name. Wheels only."""
    with tempfile.TemporaryDirectory() as folder:
        pins, report = Path(folder, "constraints.txt"), Path(folder, "report.json")
        pins.write_text("\n".join(constraints), encoding="utf-8")
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--only-binary=:all:"]
        command += ["--quiet", "--constraint", str(pins), "--report", str(report), *requirements]
        subprocess.run(command, check=True, cwd=folder)
        installs = json.loads(report.read_text(encoding="utf-8"))["install"]
    return sorted(map(_pin, installs))


def _pin(install: dict[str, dict[str, object]]) -> tuple[str, str, str]:
    name = re.sub(r"[-_.]+", "-", str(install["metadata"]["name"])).lower()
    archive, url = install["download_info"]["archive_info"], str(install["download_info"]["url"])
    assert isinstance(archive, dict)
    sha = archive.get("hashes", {}).get("sha256")
    if sha is None:  # a file that lies here has none in the report
        sha = hashlib.sha256(Path(url2pathname(urlsplit(url).path)).read_bytes()).hexdigest()
    return name, str(install["metadata"]["version"]), sha


if __name__ == "__main__":
    sys.exit(main())
