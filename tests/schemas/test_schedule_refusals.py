"""Schedules that cannot be: refused by name and with what to do, before anything is trained."""

from typing import get_args

import pytest

from schemas.errors import SpecError
from schemas.optimizers import Optimizer
from schemas.plugins import PluginOptimizer
from schemas.schedule_checks import WITH_BETA2
from schemas.second_moment import RECTIFIED, WITHOUT_SECOND_MOMENT
from schemas.study import parse_study

CLOSED = {"kind": "smoothness_law", "rule": "descent", "k0": 1.0, "k_rho": 1.0, "optimum": {"kind": "zero"}}
LINEAR = {"kind": "linear", "steps": 200}


def said(document):
    with pytest.raises(SpecError) as refused:
        parse_study(document)
    return [str(problem) for problem in refused.value.problems]


def adam(beta2, kind="adam", **fields):
    return {"kind": kind, "betas": [0.9, beta2], **fields}


# What is set at the schedule's warmup, decay, and beside it -> the one line (400 steps, sgd)
REFUSED = {
    "alpha of 0": (
        {"warmup": {"kind": "polynomial", "steps": 10, "alpha": 0.0}},
        "schedules[0].warmup.alpha: got 0.0, allowed above 0.0",
    ),
    "a knee that is no lower than the peak": (
        {"warmup": {"kind": "piecewise_linear", "steps": 10, "knee_factor": 1.0}},
        "schedules[0].warmup.knee_factor: got 1.0, allowed below 1.0",
    ),
    "a knee below its start": (
        {"warmup": {"kind": "piecewise_linear", "steps": 10, "knee_factor": 0.1, "start_factor": 0.2}},
        "schedules[0].warmup.start_factor: got 0.2, allowed at most knee_factor, 0.1",
    ),
    "a geometric warmup from 0": (
        {"warmup": {"kind": "geometric", "steps": 10, "start_factor": 0.0}},
        "schedules[0].warmup.start_factor: got 0.0, allowed above 0.0",
    ),
    "both lengths": (
        {"warmup": {"kind": "sqrt", "steps": 10, "fraction": 0.5}},
        "exactly one of steps, fraction",
    ),
    "no time constant": ({"warmup": {"kind": "exponential_concave"}}, "exactly one of tau_steps, tau_fraction"),
    "a time constant of 0": (
        {"warmup": {"kind": "exponential_concave", "tau_steps": 0.0}},
        "schedules[0].warmup.tau_steps: got 0.0, allowed above 0.0",
    ),
    "longer than the run": (
        {"warmup": {"kind": "cosine", "steps": 401}},
        "schedules[0].warmup.steps: got 401, allowed at most 400, the steps of workload digits",
    ),
    "radam with sgd": (
        {"warmup": {"kind": "radam"}},
        "schedules[0].warmup.beta2: got nothing, and no second moment of optimizer sgd, allowed a beta2 here, or an "
        f"optimizer that has one ({WITH_BETA2}): warmup radam follows from it",
    ),
    "radam with a small beta2": (
        {"warmup": {"kind": "radam"}, "optimizer": adam(0.6)},
        "schedules[0].warmup.beta2: got 0.6 of optimizer adam, allowed above 0.6 and at most 0.99999 for warmup radam",
    ),
    "radam with a small beta2 of its own": (
        {"warmup": {"kind": "radam", "beta2": 0.5}, "optimizer": adam(0.999)},
        "schedules[0].warmup.beta2: got 0.5, allowed above 0.6 and at most 0.99999 for warmup radam",
    ),
    "radam twice": (
        {"warmup": {"kind": "radam"}, "optimizer": {"kind": "radam"}},
        "schedules[0].warmup.kind: got radam of optimizer radam, allowed another warmup, or an optimizer other than "
        "radam: it warms up by itself",
    ),
    "a second beta that is not that of a second moment": (
        {"warmup": {"kind": "untuned_exponential"}, "optimizer": {"kind": "lion"}},
        "schedules[0].warmup.beta2: got nothing, and no second moment of optimizer lion, allowed a beta2 here, or an "
        f"optimizer that has one ({WITH_BETA2}): warmup untuned_exponential follows from it",
    ),
    "an untuned warmup that outlasts the run": (
        {"warmup": {"kind": "untuned_linear"}, "optimizer": adam(0.999)},
        "schedules[0].warmup.kind: got untuned_linear of 2000 steps (beta2 0.999), allowed at most 400, the steps of "
        "workload digits; untuned_exponential may outlast a run",
    ),
    "noam with a warmup of its own": (
        {"warmup": LINEAR, "decay": {"kind": "noam", "warmup_steps": 20}},
        "schedules[0].warmup.kind: got linear, allowed none: decay noam rises by itself, over its warmup_steps",
    ),
    "one_cycle behind a closed loop": (
        {"warmup": CLOSED, "decay": {"kind": "one_cycle"}},
        "schedules[0].warmup.kind: got smoothness_law, allowed none: decay one_cycle rises by itself, over its "
        "warmup_fraction",
    ),
    "noam longer than the run": (
        {"decay": {"kind": "noam", "warmup_steps": 401}},
        "schedules[0].decay.warmup_steps: got 401, allowed at most 400, the steps of workload digits",
    ),
    "a cool-down that meets the warmup": (
        {"warmup": LINEAR, "decay": {"kind": "wsd", "cooldown_steps": 201}},
        "schedules[0].decay.cooldown_steps: got 201 steps behind a warmup of 200, allowed at most 200 of the 400, "
        "the steps of workload digits",
    ),
    "a cool-down that meets the warmup, as a fraction": (
        {"warmup": LINEAR, "decay": {"kind": "wsd", "cooldown_fraction": 0.6}},
        "schedules[0].decay.cooldown_fraction: got 240 steps behind a warmup of 200, allowed at most 200 of the 400, "
        "the steps of workload digits",
    ),
    "a cool-down behind a closed loop without an end": (
        {"warmup": CLOSED, "decay": {"kind": "wsd", "cooldown_steps": 20}},
        "schedules[0].warmup.max_steps: got nothing, allowed a number of steps: decay wsd cools down only behind the "
        "warmup",
    ),
    "a cool-down that meets the end of a closed loop": (
        {"warmup": {**CLOSED, "max_steps": 390}, "decay": {"kind": "wsd", "cooldown_steps": 20}},
        "schedules[0].decay.cooldown_steps: got 20 steps behind a warmup of 390, allowed at most 10 of the 400, the "
        "steps of workload digits",
    ),
    "a half-life without its cool-down": (
        {"decay": {"kind": "wsd", "cooldown_steps": 20, "half_life_steps": 3.0}},
        "half_life_steps with cooldown exponential, and with no other",
    ),
    "an exponential decay without a ratio": ({"decay": {"kind": "exponential"}}, "exactly one of gamma, end_factor"),
    "three phases that do not fit": (
        {"decay": {"kind": "one_cycle", "three_phase": True, "warmup_fraction": 0.6}},
        "schedules[0].decay.warmup_fraction: got 0.6, allowed at most 0.5 with three_phase: up, and as far down",
    ),
    "a convention that has no such schedule": (
        {"warmup": {"kind": "sqrt", "steps": 10}, "convention": "timm"},
        "schedules[0].convention: got timm, allowed ours for warmup sqrt with decay constant",
    ),
    "a convention that nobody has": (
        {"convention": "keras"},
        "schedules[0].convention: got 'keras', allowed ours, torch, hf, timm, optax or fairseq",
    ),
}


@pytest.mark.parametrize(("change", "line"), REFUSED.values(), ids=REFUSED)
def test_a_schedule_that_cannot_be_is_refused_by_name(study, change, line):
    change = dict(change)
    optimizer = change.pop("optimizer", {"kind": "sgd"})
    [found] = said(study(optimizers__0=optimizer, **{f"schedules__0__{name}": value for name, value in change.items()}))
    assert found.endswith(line)


ACCEPTED = [
    ({"warmup": {"kind": "radam", "beta2": 0.99}}, {"kind": "sgd"}),
    ({"warmup": {"kind": "untuned_linear", "beta2": 0.99}}, adam(0.999)),
    ({"warmup": {"kind": "untuned_exponential"}}, adam(0.99999)),
    ({"warmup": {"kind": "exponential_concave", "tau_fraction": 2.0}}, {"kind": "sgd"}),
    ({"warmup": LINEAR, "decay": {"kind": "wsd", "cooldown_steps": 200}}, {"kind": "sgd"}),
    ({"warmup": {**CLOSED, "max_steps": 380}, "decay": {"kind": "wsd", "cooldown_steps": 20}}, {"kind": "sgd"}),
]


@pytest.mark.parametrize(("change", "optimizer"), ACCEPTED)
def test_what_is_next_to_it_is_not(study, change, optimizer):
    document = study(optimizers__0=optimizer, **{f"schedules__0__{name}": value for name, value in change.items()})
    assert parse_study(document).num_trials() == 1


def test_all_that_is_wrong_with_schedules_is_said_at_once(study):
    document = study(optimizers=[{"kind": "sgd"}, adam(0.5), adam(0.999, "adamw")])
    document["schedules"] = [
        {"name": "a", "warmup": {"kind": "radam"}, "decay": {"kind": "constant"}},
        {"name": "b", "warmup": LINEAR, "decay": {"kind": "noam", "warmup_steps": 20}},
        {"name": "c", "warmup": {"kind": "cosine", "steps": 500}, "decay": {"kind": "constant"}},
    ]
    assert [line.partition(": got ")[0] for line in said(document)] == [
        "schedules[1].warmup.kind",
        "schedules[0].warmup.beta2",
        "schedules[0].warmup.beta2",
        "schedules[2].warmup.steps",
    ]


def test_a_warmup_and_an_optimizer_that_a_link_keeps_apart_say_nothing_against_each_other(study):
    document = study(optimizers=[{"kind": "sgd"}, adam(0.99)], link=[["optimizers", "schedules"]])
    document["schedules"] = [
        {"name": "none", "warmup": {"kind": "none"}, "decay": {"kind": "constant"}},
        {"name": "radam", "warmup": {"kind": "radam"}, "decay": {"kind": "constant"}},
    ]
    assert parse_study(document).num_trials() == 2
    document["optimizers"].reverse()
    [line] = said(document)
    assert line.startswith("schedules[1].warmup.beta2: got nothing, and no second moment of optimizer sgd")


def test_an_untuned_warmup_is_measured_against_the_runs_it_meets_alone(study):
    """beta2 0.999 makes 2,000 steps: the long run has them, and a link keeps them from the short one."""
    document = study(optimizers=[adam(0.99), adam(0.999, "adamw")], link=[["workloads", "optimizers"]])
    short = document["workloads"][0]
    document["workloads"] = [short, {**short, "name": "long", "budget": {"steps": 2000}}]
    document["schedules"][0]["warmup"] = {"kind": "untuned_linear"}
    assert parse_study(document).num_trials() == 2
    document["optimizers"].reverse()
    [line] = said(document)
    assert "of 2000 steps (beta2 0.999), allowed at most 400, the steps of workload digits" in line


def test_a_swept_beta2_is_checked_value_by_value(study):
    document = study(optimizers__0={"kind": "adam", "betas": [0.9, {"sweep": [0.5, 0.999]}]})
    document["schedules"][0]["warmup"] = {"kind": "radam"}
    [line] = said(document)
    assert line.startswith("schedules[0].warmup.beta2: got 0.5 of optimizer adam")


def test_the_optimizers_that_are_named_are_all_that_have_a_second_moment() -> None:
    kinds = [kind for kind in get_args(get_args(Optimizer)[0]) if kind is not PluginOptimizer]
    named = [get_args(kind.model_fields["kind"].annotation)[0] for kind in kinds if "betas" in kind.model_fields]
    assert WITH_BETA2.split(", ") == [name for name in named if name not in RECTIFIED | WITHOUT_SECOND_MOMENT]
