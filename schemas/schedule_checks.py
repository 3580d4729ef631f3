"""Which warmups, decays, conventions, optimizers and runs go together: the rest is refused with what to do."""

from collections.abc import Iterator

from schemas.closed_loops import CatapultStartWarmup, ClosedLoopWarmup
from schemas.conventions import conventions_of
from schemas.decays import NoamDecay, OneCycleDecay, WSDDecay
from schemas.errors import Problem
from schemas.optimizers import Optimizer
from schemas.plugins import PluginOptimizer
from schemas.problems import join_field, show
from schemas.schedules import Schedule
from schemas.second_moment import LEAST_RADAM_BETA2, MOST_RADAM_BETA2, RECTIFIED, beta2_of
from schemas.warmups import LinearWarmup, PiecewiseLinearWarmup, RAdamWarmup, ReplayWarmup, UntunedLinearWarmup

WITH_BETA2 = "adam, adamw, gi_adam, adamw_w2, lamb, schedule_free_adamw"
"""Kinds with a second moment that is not rectified."""


def schedule_problems(schedule: Schedule, where: str = "") -> list[Problem]:
    """What a schedule's own parts say against each other."""
    found = [*_of_the_parts(schedule), *_of_the_convention(schedule)]
    return [Problem(join_field(where, field), got, allowed) for field, got, allowed in found]


def beta2_problems(schedule: Schedule, optimizer: Optimizer | None, where: str = "") -> list[Problem]:
    """A warmup that follows from a beta2 that is not there, or that it cannot follow from."""
    warmup = schedule.warmup
    if isinstance(warmup, ClosedLoopWarmup) or not warmup.NEEDS_BETA2:
        return []
    name = f"of optimizer {optimizer.name or optimizer.kind}" if optimizer is not None else "of an optimizer"
    given: float | None = warmup.beta2  # type: ignore[union-attr]  # NEEDS_BETA2 says that it has the field
    beta2 = given if given is not None else (beta2_of(optimizer) if optimizer is not None else None)
    field, got = (f"warmup.{part}" for part in ("beta2", "kind"))
    if beta2 is None:
        said = f"nothing, and no second moment {name}"
        allowed = f"a beta2 here, or an optimizer that has one ({WITH_BETA2}): warmup {warmup.kind} follows from it"
        return [Problem(join_field(where, field), said, allowed)]
    if optimizer is not None and optimizer.kind in RECTIFIED:
        allowed = f"another warmup, or an optimizer other than {optimizer.kind}: it warms up by itself"
        return [Problem(join_field(where, got), f"{warmup.kind} {name}", allowed)]
    if isinstance(warmup, RAdamWarmup) and not LEAST_RADAM_BETA2 < beta2 <= MOST_RADAM_BETA2:
        said = show(beta2) if given is not None else f"{show(beta2)} {name}"
        allowed = f"above {LEAST_RADAM_BETA2} and at most {MOST_RADAM_BETA2} for warmup radam"
        return [Problem(join_field(where, field), said, allowed)]
    return []


def search_problems(schedule: Schedule, optimizer: Optimizer, where: str = "") -> list[Problem]:
    """A warmup that tries updates, beside an optimizer whose state cannot be put back."""
    warmup = schedule.warmup
    if not (isinstance(warmup, ClosedLoopWarmup) and warmup.SEARCHES and isinstance(optimizer, PluginOptimizer)):
        return []
    said = (
        f"another warmup beside optimizer {optimizer.label or optimizer.name}, which is no kind of ours: {warmup.kind}"
    )
    allowed = f"{said} tries updates and takes them back"
    return [Problem(join_field(where, "warmup.kind"), warmup.kind, allowed)]


def run_problems(schedule: Schedule, total_steps: int, run: str, where: str = "") -> list[Problem]:
    """What does not fit in a run of `total_steps`.

    Args:
        schedule: of which `schedule_problems` and `beta2_problems` have none, with its beta2 filled in.
        run: `the steps of workload digits`.
    """
    found = [*_of_the_lengths(schedule, total_steps, run), *_of_the_library(schedule, total_steps, run)]
    return [Problem(join_field(where, field), got, allowed) for field, got, allowed in found[:1]]


Found = tuple[str, str, str]
"""Field, got, allowed."""


def _of_the_parts(schedule: Schedule) -> Iterator[Found]:
    warmup, decay = schedule.warmup, schedule.decay
    if decay.HAS_WARMUP and warmup.kind != "none":
        own = "warmup_fraction" if isinstance(decay, OneCycleDecay) else "warmup_steps"
        yield "warmup.kind", warmup.kind, f"none: decay {decay.kind} rises by itself, over its {own}"
    elif isinstance(warmup, ClosedLoopWarmup) and isinstance(decay, WSDDecay) and _may_outlast(warmup):
        yield "warmup.max_steps", "nothing", "a number of steps: decay wsd cools down only behind the warmup"
    if isinstance(warmup, PiecewiseLinearWarmup) and warmup.start_factor > warmup.knee_factor:
        yield "warmup.start_factor", show(warmup.start_factor), f"at most knee_factor, {show(warmup.knee_factor)}"
    if isinstance(decay, OneCycleDecay) and decay.three_phase and decay.warmup_fraction > 0.5:
        yield "decay.warmup_fraction", show(decay.warmup_fraction), "at most 0.5 with three_phase: up, and as far down"


def _may_outlast(warmup: ClosedLoopWarmup) -> bool:
    return warmup.max_steps is None and not isinstance(warmup, CatapultStartWarmup)


def _of_the_convention(schedule: Schedule) -> Iterator[Found]:
    warmup, decay, convention = schedule.warmup, schedule.decay, schedule.convention
    if convention == "ours" or (decay.HAS_WARMUP and warmup.kind != "none"):
        return
    allowed = conventions_of(warmup.kind, decay.kind)
    if convention not in allowed:
        yield "convention", convention, f"{' or '.join(allowed)} for warmup {warmup.kind} with decay {decay.kind}"
        return
    if isinstance(decay, OneCycleDecay) and convention == "optax" and (decay.anneal, decay.three_phase) != _OPTAX_CYCLE:
        yield "convention", convention, "ours or torch for a one_cycle other than cosine in two phases"
    if isinstance(decay, WSDDecay) and decay.cooldown == "exponential":
        yield "decay.cooldown", decay.cooldown, f"linear or one_minus_sqrt in convention {convention}"
    yield from _of_the_start(schedule)


_OPTAX_CYCLE = ("cosine", False)


def _of_the_start(schedule: Schedule) -> Iterator[Found]:
    warmup, decay, convention = schedule.warmup, schedule.decay, schedule.convention
    start = warmup.start_factor if isinstance(warmup, LinearWarmup) else 0.0
    if convention == "torch" and isinstance(warmup, LinearWarmup) and start == 0:
        yield "warmup.start_factor", "0.0", "above 0 in convention torch: LinearLR refuses 0, its default is 1/3"
    if convention == "fairseq" and decay.kind in ("constant", "linear") and start != 0:
        yield "warmup.start_factor", show(start), f"0.0 in convention fairseq with decay {decay.kind}"
    if convention == "hf" and isinstance(warmup, LinearWarmup):
        allowed = (decay.floor, ", decay.floor: wsd starts there,") if isinstance(decay, WSDDecay) else (0.0, "")
        if start != allowed[0]:
            yield "warmup.start_factor", show(start), f"{show(allowed[0])}{allowed[1]} in convention hf"
    if convention == "hf" and warmup.kind == "cosine" and isinstance(decay, WSDDecay) and decay.floor != 0:
        yield "decay.floor", show(decay.floor), "0.0 in convention hf with warmup cosine, which would start there"


def _of_the_lengths(schedule: Schedule, total_steps: int, run: str) -> Iterator[Found]:
    warmup, decay = schedule.warmup, schedule.decay
    if isinstance(warmup, ClosedLoopWarmup):
        longest = warmup.bound(total_steps) or 0
        if isinstance(warmup, CatapultStartWarmup) and warmup.length(total_steps) > total_steps:
            yield "warmup.steps", str(warmup.length(total_steps)), f"at most {total_steps}, {run}"
    else:
        end_step = schedule.end_step(total_steps)
        assert end_step is not None
        longest = end_step
        if longest > total_steps:
            field, got = "warmup.steps", str(longest)
            advice = ""
            if isinstance(decay, NoamDecay):
                field = "decay.warmup_steps"
            elif isinstance(warmup, UntunedLinearWarmup):
                field, got = "warmup.kind", f"{warmup.kind} of {longest} steps (beta2 {show(warmup.beta2)})"
                advice = "; untuned_exponential may outlast a run"
            elif isinstance(warmup, ReplayWarmup):
                field, got = "warmup.rates", f"{longest} rates"
            yield field, got, f"at most {total_steps}, {run}{advice}"
    if isinstance(decay, WSDDecay) and longest + decay.num_steps(total_steps) > total_steps:
        field = "decay.cooldown_fraction" if decay.cooldown_steps is None else "decay.cooldown_steps"
        got = f"{decay.num_steps(total_steps)} steps behind a warmup of {longest}"
        yield field, got, f"at most {max(0, total_steps - longest)} of the {total_steps}, {run}"


def _of_the_library(schedule: Schedule, total_steps: int, run: str) -> Iterator[Found]:
    convention, decay = schedule.convention, schedule.decay
    if convention == "ours":
        return
    end_step = schedule.end_step(total_steps)
    assert end_step is not None
    field = "decay.warmup_fraction" if isinstance(decay, OneCycleDecay) else "warmup"
    if convention == "torch" and isinstance(decay, OneCycleDecay):
        if decay.warmup_fraction * total_steps == 1:
            yield field, show(decay.warmup_fraction), "more, or less: OneCycleLR divides by zero at 1 step of warmup"
    elif convention in ("torch", "timm", "optax") and decay.kind != "constant" and end_step >= total_steps:
        yield field, f"{end_step} steps", f"below {total_steps}, {run}: {convention} has no decay of 0 steps"
    elif convention == "fairseq" and decay.kind == "inverse_sqrt" and end_step == 0:
        yield field, "0 steps", "at least 1 step: fairseq's inverse_sqrt decays from the warmup's length"
