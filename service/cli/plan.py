"""`warmup-bench plan FILE`: what a study will cost, and every choice written out. Trains nothing."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.options import (
    Data,
    Home,
    Json,
    Plugins,
    Workers,
    human_bytes,
    human_seconds,
    human_small,
    places,
    print_json,
    say,
)

if TYPE_CHECKING:
    from workers.places import Places
    from workers.planning.calibration import Calibration

_ENOUGH, _REST = "enough", "; the trials of the others are cancelled"


def plan(
    file: Annotated[str, typer.Argument(metavar="FILE|PRESET", help="The study.")],
    home: Home = None,
    data: Data = None,
    plugin: Plugins = None,
    workers: Workers = None,
    calibrate: Annotated[
        bool,
        typer.Option("--calibrate", help="First measure a few steps of each kind of pack (half a minute)."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Print what a study will cost, and train nothing. Trials, packs, gradients, HVPs, bytes, time, and the spec with
    every default filled in.
    """
    where = places(home, data=data, plugins=plugin)
    from service.planning import plan_study
    from service.requests import check_workers
    from service.spec_files import read_document
    from workers.results.write import as_yaml

    check_workers(workers)
    document = read_document(file)
    if calibrate:
        _calibrate(document, where)
    planned = plan_study(document, where, workers)
    if as_json:
        print_json(planned.as_json())
        return
    print("\n".join(lines_of(planned)))
    print("\n# the study, resolved\n" + as_yaml(planned.study.resolved), end="")


def _calibrate(document: Any, where: "Places") -> None:
    from service.calibrating import calibrate
    from service.requests import accept

    say("measuring what packs cost here ...")
    kinds = 0

    def tell(begun: dict[str, Any], found: "Calibration | None") -> None:
        nonlocal kinds
        kinds = begun["of"]
        if found is not None:
            step = human_small(found.step_s[0])
            faster = "" if found.times_faster is None else f", {found.times_faster:.1f} times as fast a trial as alone"
            trials = counted(found.size, "trial")
            say(f"  {begun['number'] + 1} of {kinds}  {begun['name']}: {step} a step of {trials}{faster}")

    measured = calibrate(accept(document, where), where, tell)
    if measured < kinds:
        say(f"{kinds - measured} of {counted(kinds, 'kind')} of packs not measured: the time was up")


def lines_of(planned: Any) -> list[str]:
    """What is printed of it, above the resolved study."""
    from schemas.probes import thinning_text

    cost = planned.estimate
    done = f", {planned.done:,} of them done in this home; left: {cost.trials:,}" if planned.done else ""
    lines = [
        f"study       {planned.study.name}",
        f"device      {planned.device_class}",
        f"trials      {planned.trials:,}{done} in {counted(cost.packs, 'pack')} ({counted(cost.steps, 'step')})",
        f"gradients   {cost.gradients:,.0f} at most, in training batches",
        f"HVPs        {cost.hvps:,} at most",
        f"records     {counted(cost.record_rows, 'row')}, about {human_bytes(cost.record_bytes)}",
        f"time        {_time(planned)}",
    ]
    lines += [f"budget      {said}" for said in _budget(planned)]
    budget = planned.study.fields.probe_budget
    lines += [f"thinned     {thinning_text(name, counts, budget)}" for name, counts in cost.thinned.items()]
    lines += [f"unstacked   {why} ({pair})" for pair, why in planned.unstacked.items()]
    lines += [f"note        {said}" for said in planned.notes]
    lines += [f"warmup      {name}: {steps}" for name, steps in planned.warmup_steps.items()]
    return lines


def _budget(planned: Any) -> list[str]:
    """What the study's own budget allows, and what becomes of the rest."""
    budget, cost = planned.budget, planned.estimate
    if budget is None:
        return []
    said = []
    if budget.gradients is not None:
        needed = f"{budget.gradients:,.0f} gradients (an HVP is two) of {budget.gradients_needed:,.0f}"
        enough = budget.packs_paid == cost.packs
        said.append(
            f"{needed}: " + (_ENOUGH if enough else f"{budget.packs_paid:,} of {cost.packs:,} packs begin{_REST}")
        )
    if budget.hours is not None:
        hours = f"{budget.hours:g} h"
        if cost.seconds is None:
            said.append(f"{hours}: how many packs begin until then is not known{_REST}")
        else:
            low, high = (seconds / 3600 for seconds in cost.seconds)
            many = _ENOUGH if high < budget.hours else "not enough" if low > budget.hours else "perhaps not enough"
            said.append(f"{hours}: {many}{'' if many == _ENOUGH else _REST}")
    return said


def _time(planned: Any) -> str:
    if not planned.estimate.packs:
        return "none: nothing is left to train"
    if planned.estimate.seconds is None:
        return (
            f"unknown: no pack of this kind has run here yet (home {planned.home}); once one has, the time follows"
            " from it, or --calibrate measures it"
        )
    low, high = (human_seconds(seconds) for seconds in planned.estimate.seconds)
    span = low if low == high else f"{low} to {high}"
    return f"{span} of training with {counted(planned.workers, 'worker')}, and a few seconds to start and report"


def counted(count: int, noun: str) -> str:
    """`1 pack`, `8 packs`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
