"""`warmup-bench plan FILE`: what a study will cost, and every choice written out. Trains nothing."""

from typing import Annotated, Any

import typer

from service.cli.options import Data, Home, Json, human_bytes, human_seconds, places, print_json


def plan(
    file: Annotated[str, typer.Argument(metavar="FILE|PRESET", help="The study.")],
    home: Home = None,
    data: Data = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Trainers (default: one per core).")] = None,
    as_json: Json = False,
) -> None:
    """Print trials, packs, gradients, HVPs, bytes, time, and the spec with every default filled in."""
    where = places(home, data=data)
    from service.planning import plan_study
    from service.spec_files import read_document
    from workers.results.write import as_yaml

    planned = plan_study(read_document(file), where, workers)
    if as_json:
        print_json(planned.as_json())
        return
    print("\n".join(_lines(planned)))
    print("\n# the study, resolved\n" + as_yaml(planned.study.resolved), end="")


def _lines(planned: Any) -> list[str]:
    cost = planned.estimate
    seconds = "unknown (no pack of this kind has run on this device class yet)"
    if cost.seconds is not None:
        low, high = cost.seconds
        seconds = f"{human_seconds(low)} to {human_seconds(high)} of training with {planned.workers} workers"
    lines = [
        f"study       {planned.study.name}",
        f"device      {planned.device_class}",
        f"trials      {cost.trials:,} in {cost.packs:,} packs ({cost.steps:,} steps)",
        f"gradients   {cost.gradients:,.0f} at most, in training batches",
        f"HVPs        {cost.hvps:,} at most",
        f"records     {cost.record_rows:,} rows, about {human_bytes(cost.record_bytes)}",
        f"time        {seconds}",
    ]
    for name, (kept, asked) in cost.thinned.items():
        lines.append(f"thinned     {name}: {kept} of {asked} points a trial fit probe_budget")
    for name, steps in planned.warmup_steps.items():
        lines.append(f"warmup      {name}: {steps}")
    return lines
