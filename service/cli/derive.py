"""`warmup-bench derive STUDY`: from a finished pilot's smoothness law to the follow-up that tests it."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from schemas.errors import PlaceError, Problem, SpecError
from service.cli.options import Home, Json, Records, StudyId, places, print_json, say


def derive(
    study: StudyId,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write it there (default: print it).")
    ] = None,
    workload: Annotated[str | None, typer.Option("--workload", help="Which, where the pilot has several.")] = None,
    optimizer: Annotated[str | None, typer.Option("--optimizer", help="Which, where the pilot has several.")] = None,
    even_so: Annotated[bool, typer.Option("--even-so", help="Also where the law is not supported.")] = False,
    home: Home = None,
    records: Records = None,
    as_json: Json = False,
) -> None:
    """Fit the smoothness law on a study, and print its follow-up. The study is a finished one; the follow-up sets the
    derived warmup against none, tuned linear and the study's best, on new seeds, with predictions that are frozen
    before it runs.
    """
    where = places(home, records)
    if out is not None and out.exists():
        raise SpecError([Problem("--out", str(out), "a file that does not exist yet")])
    from schemas.study import parse_study
    from workers.ledger.ledger import Ledger
    from workers.results.deriving import derive_study
    from workers.results.write import as_yaml

    with Ledger.open(where.home, create=False) as ledger, TemporaryDirectory() as folder:
        document = derive_study(
            ledger, study, where, Path(folder), workload=workload, optimizer=optimizer, even_so=even_so
        )
    parse_study(document)  # what is printed can be run
    text = as_yaml(document)
    if out is not None:
        _write(out, text)
    for line in lines_of(document["derived_from"]):
        say(line)
    if as_json:
        print_json({"file": None if out is None else str(out), "spec": document})
    elif out is None:
        print(text, end="")
    else:
        print(f"{out}: `warmup-bench run {out}` tests it, `warmup-bench plan {out}` says what it costs")


def lines_of(frozen: dict[str, Any]) -> list[str]:
    """What was derived, for people."""
    law, scale = frozen["law"], frozen["scale"]
    need = "is foretold to be needed" if frozen["warmup_needed"] else "is foretold not to be needed"
    lines = [
        f"{frozen['name']}, {frozen['workload']}, {frozen['optimizer']}: {law['response']} ="
        f" {law['k0']:g} + {law['k_rho']:g} gap^{law['rho']:g} ({law['answer']}); rate {scale:g} / law; warmup {need}"
    ]
    if frozen["scale_from"] == "pilot":
        lines.append(
            f"  no stability threshold of {frozen['optimizer']} is about {law['response']}: {scale:g} is what the pilot"
            " sustained at its start, of the rates that it tried"
        )
    for each in frozen["predictions"]:
        upper = "or more" if each["high"] is None else f"to {each['high']:g}"
        lines.append(f"  {each['quantity']}: {each['value']:g} ({each['low']:g} {upper})")
    return lines


def _write(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.partial")
    try:
        temporary.write_text(text, encoding="utf-8", newline="\n")
        temporary.replace(path)
    except OSError as error:
        raise PlaceError(f"{path}: {error.strerror or error}; name another file") from error
