"""docs/openapi.json is what the application says of itself; WARMUP_BENCH_REBUILD_GOLDEN=1 writes it anew."""

import json
import os
from pathlib import Path

EXPORT = Path(__file__).parents[2] / "docs" / "openapi.json"


def test_the_exported_description_is_that_of_the_application(contract_app):
    said = json.dumps(contract_app[0].openapi(), indent=1, sort_keys=True) + "\n"
    if os.environ.get("WARMUP_BENCH_REBUILD_GOLDEN"):
        EXPORT.write_text(said, encoding="utf-8")
    # By value first: a difference of two parsed documents is readable.
    assert json.loads(said) == json.loads(EXPORT.read_text(encoding="utf-8"))
    assert said == EXPORT.read_text(encoding="utf-8")
