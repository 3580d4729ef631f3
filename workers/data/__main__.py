"""`python -m workers.data`: list the known sets, or say their facts to the catalog."""

import argparse
import json
import os
import sys
from pathlib import Path

from workers.data.inventory import list_sets
from workers.data.listing import as_table
from workers.data.sets import scan


def main(arguments: list[str] | None = None) -> int:
    """Exit status 0: said; the facts are one JSON object a line."""
    options = _parser().parse_args(arguments)
    home = Path(options.home or os.environ.get("WARMUP_BENCH_HOME") or Path.home() / ".warmup-bench")
    data_dir = Path(options.data or os.environ.get("WARMUP_BENCH_DATA") or home / "data")
    if options.publish:
        for facts in scan(data_dir):
            sys.stdout.write(json.dumps(facts.model_dump(mode="json"), sort_keys=True) + "\n")
        return 0
    sets = list_sets(data_dir, stamps=home / "data-stamps.json")
    text = json.dumps([status.to_json() for status in sets], indent=2) if options.json else as_table(sets)
    sys.stdout.write(text + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m workers.data", description="The data directory.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--list", action="store_true", help="every known set: here or not, right or not, how to get it")
    what.add_argument("--publish", action="store_true", help="the facts of the sets that are here, for the catalog")
    parser.add_argument("--home", help="default: WARMUP_BENCH_HOME, ~/.warmup-bench")
    parser.add_argument("--data", help="default: WARMUP_BENCH_DATA, HOME/data")
    parser.add_argument("--json", action="store_true", help="the list as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
