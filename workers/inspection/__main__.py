"""`python -m workers.inspection REQUEST ANSWER`: two JSON files, one read, one written. See workers.inspecting."""

import json
import sys
from pathlib import Path
from typing import Any

from schemas.errors import SpecError
from schemas.own_parts import OwnParts
from schemas.study import parse_study
from workers.inspection.study import inspect_study, manifest
from workers.plugins import use_files


def main(request: str, answer: str) -> int:
    """Exit status 0: the answer is written, be it a refusal."""
    import torch

    torch.set_num_threads(1)
    asked = json.loads(Path(request).read_text(encoding="utf-8"))
    use_files(asked["files"])
    Path(answer).write_text(json.dumps(_answer(asked)), encoding="utf-8")
    return 0


def _answer(asked: dict[str, Any]) -> dict[str, Any]:
    if "parts" in asked:
        found, wrong = manifest([(group, name) for group, name in asked["parts"]])
        return {"parts": found.to_json(), "wrong": wrong}
    try:
        return {"parts": inspect_study(parse_study(asked["spec"]), Path(asked["data"])).to_json()}
    except SpecError as error:
        return {
            "problems": [[one.field, one.got, one.allowed] for one in error.problems],
            "parts": OwnParts().to_json(),
        }


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
