"""Asks another process what a study's own parts are: whoever asks imports none of a user's code, nor torch."""

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from schemas.base import content_hash
from schemas.errors import Problem, SpecError
from schemas.own_parts import NO_PARTS, OwnParts
from schemas.plugins import Group
from schemas.problems import shortened
from schemas.study import Study
from workers import marks
from workers.launcher import child_environment, module_command
from workers.places import Places

TIMEOUT_S = 600.0
"""A data set of one's own may be made or read for a while."""
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def inspect_parts(study: Study, places: Places, *, timeout_s: float = TIMEOUT_S) -> OwnParts:
    """What is found out about the study's own parts here; nothing is started where it has none.

    Raises:
        SpecError: they cannot be used as the study says, with everything that is wrong; or the process ends or stays
            silent.
    """
    if not study.has_own_parts():
        return NO_PARTS
    asked = {"spec": dict(study.resolved), "data": str(places.data), "files": list(map(str, places.plugins))}
    said = _ask(asked, timeout_s)
    if problems := said.get("problems"):
        raise SpecError([Problem(*row) for row in problems])
    return OwnParts.from_json(said["parts"])


def remember(own: OwnParts, study: Study, home: Path) -> None:
    """Keep what was found out about a study, so that its driver need not find it out again."""
    if own.plugins:
        path = _remembered(study, home)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(own.to_json()), encoding="utf-8")
        partial.replace(path)


def recall(study: Study, places: Places) -> OwnParts:
    """What was found out about an accepted study, by now or by `inspect_parts`. The trainers compare the code again.

    Raises:
        SpecError: as `inspect_parts`.
    """
    if not study.has_own_parts():
        return NO_PARTS
    with suppress(OSError, ValueError, KeyError):  # only a memory of work done
        return OwnParts.from_json(json.loads(_remembered(study, places.home).read_text(encoding="utf-8")))
    return inspect_parts(study, places)


def _remembered(study: Study, home: Path) -> Path:
    # The spec states the code of all parts; what vmap takes is torch's to say.
    key = content_hash({"spec_hash": study.spec_hash, "torch": version("torch")})
    return home / "own-parts" / f"{key[:32]}.json"


def inspect_installed(parts: Sequence[tuple[Group, str]], *, timeout_s: float = TIMEOUT_S) -> OwnParts:
    """What is found out about installed parts, of data sets with their default options, too: a service's manifest.

    Raises:
        SpecError: one of them cannot be imported or called.
    """
    if not parts:
        return NO_PARTS
    said = _ask({"parts": [list(part) for part in parts], "files": []}, timeout_s)
    if said["wrong"]:
        raise SpecError([Problem("--plugin", "a part that does not work here", line) for line in said["wrong"]])
    return OwnParts.from_json(said["parts"])


def _environment() -> dict[str, str]:
    # Not of the Ray that its driver is starting meanwhile: were that lost, all that carries its mark would be ended.
    inherited = {name: value for name, value in child_environment().items() if name != marks.RAY}
    return inherited | _ENVIRONMENT


def _ask(asked: dict[str, Any], timeout_s: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="warmup-bench-inspection-") as folder:
        request, answer = Path(folder) / "request.json", Path(folder) / "answer.json"
        request.write_text(json.dumps(asked), encoding="utf-8")
        command = [*module_command("workers.inspection"), str(request), str(answer)]
        try:
            done = subprocess.run(
                command,
                env=_environment(),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # what a user's code prints is not an answer
                stderr=subprocess.PIPE,
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            got = f"no answer within {timeout_s:.0f} s"
            raise SpecError([Problem("plugins", got, "parts that can be imported and built")]) from None
        if not answer.is_file():
            last = next(iter(reversed(done.stderr.decode(errors="replace").strip().splitlines())), "no word")
            how = f"was killed by signal {-done.returncode}" if done.returncode < 0 else f"ended ({done.returncode})"
            got = f"a process that {how}: {shortened(last)}"
            raise SpecError([Problem("plugins", got, "parts that can be imported and built, and memory for them")])
        answered: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
        return answered
