"""`warmup-bench verify STUDY`: ledger against records against MLflow, and some trials trained again."""

import json
import subprocess
import sys
from typing import Annotated, Any

import typer

from service.cli.options import (
    Data,
    Home,
    Json,
    Plugins,
    Records,
    StudyId,
    TrackingUri,
    integer,
    places,
    print_json,
    say,
)
from service.cli.plan import counted

NUM_TRIALS = 3
MAX_SHOWN = 100
"""Findings that are printed; `--json` has all."""


def verify(
    study: StudyId,
    trials: Annotated[
        int,
        typer.Option(
            "--trials", parser=integer("--trials"), metavar="INTEGER", help="So many are trained again (0: none)."
        ),
    ] = NUM_TRIALS,
    home: Home = None,
    records: Records = None,
    data: Data = None,
    tracking_uri: TrackingUri = None,
    plugin: Plugins = None,
    as_json: Json = False,
) -> None:
    """Check a study's records, and that it trains to the same bits. Ledger, record files and MLflow are compared, and
    some trials trained again. Writes nothing.
    """
    from schemas.errors import Problem, SpecError

    if trials < 0:
        raise SpecError([Problem("--trials", str(trials), "0 or more")])
    where = places(home, records, data, tracking_uri, plugin)
    from workers.ledger.ledger import Ledger
    from workers.results.verifying import check_records

    with Ledger.open(where.home, create=False) as ledger:
        row = ledger.find_study(study)
        lease = ledger.lease(row.id, "run")
        if lease is not None and lease.is_fresh:
            say("the study is running: what changes while it is looked at may show as a finding")
        checked = check_records(ledger, row.id, where)
    order = {"study_id": row.id, "ledger": where.ledger, "records": where.records, "num_trials": trials}
    order |= {"home": str(where.home), "data": str(where.data), "tracking_uri": where.tracking_uri}
    order["plugins"] = list(map(str, where.plugins))
    found: dict[str, Any] = {"records": vars(checked), "mlflow": None, "retrained": None}
    if where.tracking_uri is not None:
        found["mlflow"] = _ask("workers.tracking.checking", order)
    if trials:
        say(f"training {counted(trials, 'trial')} again")
        found["retrained"] = _ask("workers.cluster.retraining", order)
    is_clean = not any(part["findings"] for part in found.values() if part)
    if as_json:
        print_json({"id": row.id, "name": row.name, "is_clean": is_clean, **found})
    else:
        print("\n".join(_lines(found)))
    raise typer.Exit(0 if is_clean else 1)


def _ask(module: str, order: dict[str, Any]) -> dict[str, Any]:
    """What a process of its own says: this one has neither torch nor MLflow."""
    from workers.launcher import child_environment, module_command

    done = subprocess.run(
        module_command(module),
        input=json.dumps(order),
        env=child_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answer
    sys.stderr.write(done.stderr)
    last = next(iter(done.stderr.strip().splitlines()[::-1]), f"status {done.returncode}")
    return {"findings": [f"could not be checked: {last}"]}


def _lines(found: dict[str, Any]) -> list[str]:
    records, mlflow, again = found["records"], found["mlflow"], found["retrained"]
    words = ", ".join(counted(records[f"num_{noun}s"], noun) for noun in ("trial", "pack", "row"))
    lines = _part("ledger and records", words, records["findings"])
    if mlflow is not None:
        words = f"{counted(mlflow.get('num_runs', 0), 'run')}, {counted(mlflow.get('num_points', 0), 'point')}"
        lines += _part("MLflow", words, mlflow["findings"])
    if again is not None:
        words = f"{counted(len(again.get('trial_ids', [])), 'trial')}, {counted(again.get('num_rows', 0), 'row')}"
        lines += _part("trained again", words, again["findings"])
        lines += [f"  left out: {reason}" for reason in again.get("left_out", [])]
    return lines


def _part(name: str, words: str, findings: list[str]) -> list[str]:
    if not findings:
        return [f"{name}: {words}: as they should be"]
    more = len(findings) - MAX_SHOWN
    shown = [f"  {finding}" for finding in findings[:MAX_SHOWN]] + ([f"  and {more} more"] if more > 0 else [])
    return [f"{name}: {words}: {counted(len(findings), 'finding')}", *shown]
