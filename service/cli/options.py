"""The options that commands share, and how they print."""

import json
import math
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from schemas.errors import Problem, SpecError
from schemas.problems import show
from workers.places import Places


def integer(flag: str) -> Callable[[str], int]:
    """`parser=` of an option that takes an integer: refuses in the words of every other refusal."""

    def parsed(text: str) -> int:
        try:
            return int(text)
        except ValueError:
            raise SpecError([Problem(flag, show(text), "an integer")]) from None

    return parsed


WIDTH = 80
STUDY_HELP = "A study's id, the first digits of it, its name, or its result folder's name."
Home = Annotated[str | None, typer.Option("--home", help="Home folder (WARMUP_BENCH_HOME, ~/.warmup-bench).")]
Records = Annotated[str | None, typer.Option("--records", help="Where record files go (default HOME/records).")]
Data = Annotated[str | None, typer.Option("--data", help="The data directory (default HOME/data).")]
TrackingUri = Annotated[
    str | None, typer.Option("--tracking-uri", help="MLflow store or server; `none` turns tracking off.")
]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        "--database-url",
        metavar="URL",
        help="postgresql+psycopg://...: not the home's own ledger (WARMUP_BENCH_DATABASE_URL, or a file that holds it:"
        " WARMUP_BENCH_DATABASE_URL_FILE).",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
StudyId = Annotated[str, typer.Argument(metavar="STUDY", help=STUDY_HELP)]
Out = Annotated[Path | None, typer.Option("--out", help="Result folder (default ./NAME-SHORTID).")]
Plugins = Annotated[
    list[str] | None,
    typer.Option("--plugin", metavar="FILE.py", help="A file with parts of your own (may be given several times)."),
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", parser=integer("--workers"), metavar="INTEGER", help="Trainers (default: one per core)."),
]


def places(
    home: str | None,
    records: str | None = None,
    data: str | None = None,
    tracking_uri: str | None = "none",
    plugins: list[str] | None = None,
) -> Places:
    """Resolve places and say on stderr where the command acts.

    Args:
        tracking_uri: None asks the environment; a command that publishes nothing does not care what stands there.
    """
    resolved = Places.resolve(home=home, records=records, data=data, tracking_uri=tracking_uri, plugins=plugins or ())
    say(f"warmup-bench: here, home {resolved.home}")
    return resolved


def say(text: str) -> None:
    """A line for people, on stderr: stdout is for results."""
    print(text, file=sys.stderr, flush=True)


def in_columns(name: str, text: str, *, indent: int) -> str:
    """A name and, beside it, a text in lines that fit a terminal."""
    lines = textwrap.wrap(text, WIDTH - indent, break_on_hyphens=False) or [""]
    return "\n".join(f"{name if index == 0 else '':{indent}}{line}".rstrip() for index, line in enumerate(lines))


def print_json(value: Any) -> None:
    """Strict JSON on stdout: numbers that are not finite are the strings NaN, Infinity, -Infinity."""
    print(json.dumps(_strict(value), indent=2, allow_nan=False))


def _strict(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, dict):
        return {str(key): _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    return value


def human_bytes(count: float) -> str:
    """`1.5 MB`."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < 1000 or unit == "TB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("the last unit has no bound")


def human_small(seconds: float) -> str:
    """`120 us`, `3.5 ms`, `2.1 s`."""
    for unit, scale in (("us", 1e-6), ("ms", 1e-3)):
        if seconds < 1000 * scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds:.3g} s"


def human_seconds(seconds: float) -> str:
    """`42 s`, `3 min 20 s`, `5 h 10 min`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"
