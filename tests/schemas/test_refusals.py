"""Bad studies: each is refused with field, got, allowed, and all that is wrong is said at once."""

import json
import math
import re
import time

import pytest

from schemas import entries, problems
from schemas.errors import SpecError
from schemas.json_schema import study_json_schema
from schemas.limits import Limits
from schemas.study import parse_study

HUGE = 10**400
SWEEP_1000 = {"sweep": [index / 1000 for index in range(1000)]}


def said(document, limits=None):
    with pytest.raises(SpecError) as refused:
        parse_study(document, limits)
    return [str(problem) for problem in refused.value.problems]


REFUSED = {
    "unknown field": (
        {"optimzers": [1]},
        "optimzers: got [1], allowed no field of this name (did you mean optimizers?)",
    ),
    "unknown field inside": (
        {"workloads__0__batchsize": 4},
        "workloads[0].batchsize: got 4, allowed no field of this name (did you mean batch_size?)",
    ),
    "wrong kind": (
        {"optimizers__0__kind": "adamx"},
        "optimizers[0].kind: got 'adamx', allowed sgd, adam, adamw, gi_adam, radam, lion, adamw_w2, lars, lamb,"
        " schedule_free_adamw, plugin (did you mean adam?)",
    ),
    "a kind in another case": (
        {"optimizers__0__kind": "AdamW"},
        "optimizers[0].kind: got 'AdamW', allowed sgd, adam, adamw, gi_adam, radam, lion, adamw_w2, lars, lamb,"
        " schedule_free_adamw, plugin (did you mean adamw?)",
    ),
    "a kind that is a field here": (
        {"optimizers__0": {"kind": "nesterov", "momentum": 0.9}},
        "optimizers[0].kind: got 'nesterov', allowed sgd with nesterov: true",
    ),
    "nesterov without momentum": (
        {"optimizers__0": {"kind": "sgd", "nesterov": True}},
        "optimizers[0].nesterov: got true, allowed false, or a momentum above 0",
    ),
    "an option of another kind": (
        {"optimizers__0": {"kind": "lion", "eps": 1e-8}},
        "optimizers[0].eps: got 1e-08, allowed no field of this name",
    ),
    "beta out of range": (
        {"optimizers__0": {"kind": "lamb", "betas": [0.9, 1.0]}},
        "optimizers[0].betas[1]: got 1.0, allowed below 1.0",
    ),
    "a bound of nothing": (
        {"optimizers__0": {"kind": "adamw_w2", "tau": 0.0}},
        "optimizers[0].tau: got 0.0, allowed above 0.0",
    ),
    "radam that never rectifies": (
        {"optimizers__0": {"kind": "radam", "betas": [0.9, 0.5]}},
        "optimizers[0].betas: got [0.9, 0.5], allowed beta2 above 0.6667: below it rho never exceeds 5",
    ),
    "decay that takes the weights away": (
        {"optimizers__0": {"kind": "adamw", "weight_decay": 1.5, "couple_to_lr": False}},
        "optimizers[0].couple_to_lr: got false, allowed true, or a weight_decay below 1: by that share the weights"
        " shrink at every update",
    ),
    "an average of an average": (
        {
            "optimizers__0": {"kind": "schedule_free_adamw"},
            "workloads__0__average": {"kind": "ema", "decay": 0.9},
        },
        "optimizers[0].kind: got 'schedule_free_adamw', allowed another kind with workload digits, whose average"
        " is ema",
    ),
    "rates by layer in mup": (
        {"optimizers__0": {"kind": "lamb"}, "workloads__0__model": {"kind": "mlp", "parametrization": "mup"}},
        "optimizers[0].kind: got 'lamb', allowed another kind with workload digits, whose parametrization is mup",
    ),
    "wrong kind of a model": (
        {"workloads__0__model__kind": "mpl"},
        "workloads[0].model.kind: got 'mpl', allowed mlp, resnet, vit, plugin (did you mean mlp?)",
    ),
    "a mirrored digit": (
        {"workloads__0__dataset": {"kind": "digits", "augmentation": "flip"}},
        "workloads[0].dataset.augmentation: got 'flip', allowed none or crop",
    ),
    "noise without its kind": (
        {"workloads__0__dataset": {"kind": "cifar10", "label_noise": {"level": 0.1}}},
        "workloads[0].dataset.label_noise: got {'level': 0.1}, allowed kind: uniform beside a level or resample",
    ),
    "a depth of no whole blocks": (
        {"workloads__0__model": {"kind": "resnet", "depth": 18}},
        "workloads[0].model: got {'kind': 'resnet', 'depth': 18}, allowed a depth of 2 + 6 x blocks per stage"
        " (3 stages)",
    ),
    "a width of no whole groups": (
        {"workloads__0__model": {"kind": "resnet", "width": 12}},
        "workloads[0].model: got {'kind': 'resnet', 'width': 12}, allowed a width that is a multiple of groups, 8",
    ),
    "a width of no whole heads": (
        {"workloads__0__model": {"kind": "vit", "width": 10}},
        "workloads[0].model: got {'kind': 'vit', 'width': 10}, allowed a width that is a multiple of heads, 4",
    ),
    "an option of another model": (
        {"workloads__0__model": {"kind": "resnet", "widths": [8]}},
        "workloads[0].model.widths: got [8], allowed no field of this name (did you mean width?)",
    ),
    "a budget of nothing": ({"budget": {}}, "budget: got {}, allowed hours, gradients, or both"),
    "a budget that is used up before it begins": (
        {"budget": {"hours": 0}},
        "budget.hours: got 0, allowed above 0.0",
    ),
    "a budget of another unit": ({"budget": {"steps": 5}}, "budget.steps: got 5, allowed no field of this name"),
    "no mapping": ({"optimizers__0": "sgd"}, "optimizers[0]: got 'sgd', allowed a mapping"),
    "warmup longer than the run": (
        {"schedules__0__warmup": {"kind": "linear", "steps": 401}},
        "schedules[0].warmup.steps: got 401, allowed at most 400, the steps of workload digits",
    ),
    "warmup longer than the run, as a fraction": (
        {"schedules__0__warmup": {"kind": "linear", "fraction": 1.5}},
        "schedules[0].warmup.fraction: got 1.5, allowed at most 1.0",
    ),
    "warmup longer than the examples": (
        {
            "schedules__0__warmup": {"kind": "linear", "steps": 11},
            "workloads__0__budget": {"examples": 640},
        },
        "schedules[0].warmup.steps: got 11, allowed at most 10, the steps of workload digits",
    ),
    "empty axis": ({"schedules": []}, "schedules: got [], allowed a list of at least one item"),
    "axis of something else": ({"schedules": 3}, "schedules: got 3, allowed a list of at least one item"),
    "duplicate name": (
        {"optimizers": [{"kind": "sgd"}, {"kind": "sgd", "momentum": 0.5}]},
        "optimizers[1].name: got 'sgd', allowed a value of its own: it is taken",
    ),
    "name of another's variant": (
        {"optimizers": [{"kind": "sgd", "momentum": {"sweep": [0.5]}}, {"kind": "adam", "name": "sgd momentum=0.5"}]},
        "optimizers[1].name: got 'sgd momentum=0.5', allowed a value of its own: it is taken",
    ),
    "unknown baseline": (
        {"analysis": {"baseline": "nonne"}},
        "analysis.baseline: got 'nonne', allowed the name of a schedule: none (did you mean none?)",
    ),
    "choosing by the test set": (
        {"analysis": {"metric": "test_loss"}},
        "analysis.metric: got 'test_loss', allowed validation_loss, validation_accuracy, train_eval_loss or train_loss"
        " (did you mean train_loss?)",
    ),
    "no rates": (
        {"peak_lrs": None},
        "optimizers[0].peak_lrs: got nothing, allowed peak_lrs here, on every schedule or on the study",
    ),
    "duplicate seed": ({"seeds": [1, 2, 1]}, "seeds[2]: got '1', allowed a value of its own: it is taken"),
    "negative seed": ({"seeds": [-1]}, "seeds[0]: got -1, allowed at least 0 or a mapping"),
    "seed beyond JSON": ({"seeds": [2**53]}, f"seeds[0]: got {2**53}, allowed at most {2**53 - 1} or a mapping"),
    "seed that lacks a stream": (
        {"seeds": [{"initialization": 1, "data_order": 2}]},
        "seeds[0].noise: got nothing, allowed a value: the field is required",
    ),
    "steps as a float": (
        {"workloads__0__budget": {"steps": 400.0}},
        "workloads[0].budget.steps: got 400.0, allowed an integer",
    ),
    "two budgets": (
        {"workloads__0__budget": {"steps": 4, "epochs": 1}},
        "workloads[0].budget: got {'steps': 4, 'epochs': 1}, allowed exactly one of steps, examples, tokens, epochs",
    ),
    "hostile name": (
        {"name": "../../etc\n\x1b[31m"},
        "name: got '../../etc\\n\\x1b[31m', allowed letters, digits, spaces and . _ + = , - (a letter or digit first)",
    ),
    "description with an escape": (
        {"description": "a\x1b[31m"},
        "description: got 'a\\x1b[31m', allowed text without control characters (line breaks and tabs are fine)",
    ),
    "hostile field": ({"x\x1b[2J\ny": 1}, "'x\\x1b[2J\\ny': got 1, allowed no field of this name"),
    "values that agree": (
        {"peak_lrs": {"values": [0.1, 0.1000000000000001]}},
        "peak_lrs: got {'values': [0.1, 0.1000000000000001]}, allowed values that differ in their first 12 digits",
    ),
    "sweep of no list": (
        {"optimizers__0__momentum": {"sweep": 5}},
        "optimizers[0].momentum: got sweep: 5, allowed a list of at least one value",
    ),
    "sweep inside a sweep": (
        {"optimizers__0__momentum": {"sweep": [{"sweep": [0.1]}]}},
        "optimizers[0].momentum: got a sweep inside a sweep, allowed one sweep per value",
    ),
    "sweep of one value twice": (
        {"optimizers__0__weight_decay": {"sweep": [1, 1.0]}},
        "optimizers[0].weight_decay: got sweep: [1, 1.0], allowed values without duplicates",
    ),
    "sweep of a whole item": (
        {"optimizers": [{"sweep": [{"kind": "sgd"}]}]},
        "optimizers[0]: got sweep: [{'kind': 'sgd'}], allowed a mapping: the items of this list are an axis already",
    ),
    "sweep of names": (
        {"optimizers__0__name": {"sweep": ["a", "b"]}},
        "optimizers[0].name: got a sweep, allowed a name: swept values are added to it",
    ),
    "link of nothing": (
        {"link": [["workloads", "foo"]]},
        "link[0]: got 'foo', allowed an axis: optimizers, peak_lrs, schedules, seeds, workloads",
    ),
    "link of one axis": ({"link": [["workloads"]]}, "link[0]: got ['workloads'], allowed a list of at least 2"),
    "axis linked twice": (
        {"link": [["workloads", "seeds"], ["workloads", "optimizers"]]},
        "link[1]: got 'workloads', allowed each axis in one link at most",
    ),
    "link of two lengths": (
        {"link": [["workload.batch_size", "peak_lrs"]], "workloads__0__batch_size": {"sweep": [16, 32]}},
        "link[0]: got axes of [1, 2] values, allowed axes with equally many values",
    ),
    "too many trials": (
        {"seeds": {"count": 800_000}, "peak_lrs": {"grid": {"low": 0.1, "high": 1.0, "count": 7}}},
        "trials: got 5600000, allowed at most 1000000",
    ),
    "too many grid points": (
        {"peak_lrs": {"grid": {"low": 0.1, "high": 1.0, "count": 10**9}}},
        "trials: got 1000000000, allowed at most 1000000",
    ),
    "too many seeds": ({"seeds": {"count": 10**9}}, "trials: got 1000000000, allowed at most 1000000"),
    "too many steps": (
        {"workloads__0__budget": {"steps": 10**8}},
        "steps_per_trial: got 100000000, allowed at most 10000000",
    ),
    "too many probes": (
        {"probes": [{"kind": "sharpness", "name": f"p{index}", "every_steps": 4} for index in range(40)]},
        "probes: got 40, allowed at most 32",
    ),
}


@pytest.mark.parametrize(("change", "expected"), REFUSED.values(), ids=REFUSED)
def test_a_bad_study_is_refused_with_field_got_and_allowed(study, change, expected):
    assert said(study(**change)) == [expected]


@pytest.mark.parametrize(
    ("rate", "allowed"),
    [
        (math.nan, "got NaN, allowed a finite number"),
        (math.inf, "got Infinity, allowed a finite number"),
        (-math.inf, "got -Infinity, allowed a finite number"),
        (float("1e999"), "got Infinity, allowed a finite number"),
        ("NaN", "got 'NaN', allowed a number"),
        ("0.1", "got '0.1', allowed a number"),
        (-0.1, "got -0.1, allowed above 0.0"),
        (0, "got 0, allowed above 0.0"),
        (True, "got true, allowed a number"),
        (None, "got null, allowed a number"),
        (HUGE, "got an integer of 1329 bits, allowed a number"),
    ],
)
def test_a_learning_rate_that_is_no_positive_finite_number_is_refused(study, rate, allowed):
    for where, document in {
        "peak_lrs.values[0]": study(peak_lrs={"values": [rate]}),
        "peak_lrs.grid.high": study(peak_lrs={"grid": {"low": 0.1, "high": rate, "count": 3}}),
        "optimizers[0].peak_lrs.values[0]": study(optimizers__0__peak_lrs={"values": [rate]}),
        "schedules[0].peak_lrs.values[0]": study(schedules__0__peak_lrs={"values": [rate]}),
    }.items():
        assert said(document) == [f"{where}: {allowed}"]


NOT_YET = {
    "peak_lrs.search": {"peak_lrs": {"search": {"kind": "stability_edge"}}},
    "optimizers[0].peak_lrs.search": {"optimizers__0__peak_lrs": {"search": {"kind": "stability_edge"}}},
    "workloads[0].task": {"workloads__0__task": "speech"},
    "workloads[0].dataset.kind": {"workloads__0__dataset": {"kind": "fsdd"}},
    "schedules[0].decay.cycle_momentum": {"schedules__0__decay": {"kind": "one_cycle", "cycle_momentum": True}},
    "schedules[0].warmup.optimum.kind": {
        "schedules__0__warmup": {
            "kind": "smoothness_law", "rule": "descent", "k0": 1.0, "k_rho": 1.0, "optimum": {"kind": "fitted"},
        }
    },
    "schedules[0].warmup.signal.source": {
        "schedules__0__warmup": {
            "kind": "smoothness_law", "rule": "descent", "k0": 1.0, "k_rho": 1.0, "optimum": {"kind": "zero"},
            "signal": {"source": "probe_loss"},
        }
    },
    "analysis.tuned": {"analysis": {"tuned": ["optimizer.weight_decay"]}},
    "analysis.compare": {"analysis": {"compare": "optimizer"}},
}  # fmt: skip


@pytest.mark.parametrize(("field", "change"), NOT_YET.items(), ids=NOT_YET)
def test_what_the_contract_names_and_is_not_built_is_refused_by_name(study, field, change):
    lines = said(study(**change))
    assert len(lines) == 1
    assert lines[0].startswith(f"{field}: got ")
    assert "not yet" in lines[0]


LANGUAGE = {
    "name": "text",
    "task": "language_model",
    "model": {"kind": "gpt"},
    "dataset": {"kind": "pydoc"},
    "loss": {"kind": "cross_entropy"},
    "budget": {"tokens": 5_000},
}
TASKS = {
    "augmentation on text": (
        {"dataset": {"kind": "pydoc", "augmentation": "flip"}},
        "workloads[0].dataset.augmentation: got 'flip', allowed none: it changes images, and this set is a text; leave"
        " it out",
    ),
    "label noise on text": (
        {"dataset": {"kind": "pydoc", "label_noise": {"kind": "uniform", "level": 0.5}}},
        "workloads[0].dataset.label_noise: got {'kind': 'uniform', 'level': 0.5}, allowed none: a text has no labels"
        " beside itself; leave it out",
    ),
    "a classifier's model": (
        {"model": {"kind": "mlp"}},
        "workloads[0].model.kind: got 'mlp', allowed gpt, plugin (mlp: with task classification)",
    ),
    "a classifier's data": (
        {"dataset": {"kind": "digits"}},
        "workloads[0].dataset.kind: got 'digits', allowed tinyshakespeare, pydoc, plugin (digits: with task"
        " classification)",
    ),
    "tokens of images": (
        {"task": "classification", "model": {"kind": "mlp"}, "dataset": {"kind": "digits"}},
        "workloads[0].budget.tokens: got 5000, allowed steps, examples or epochs: tokens are counted with task"
        " language_model",
    ),
    "heads that do not share the width": (
        {"model": {"kind": "gpt", "heads": 3}},
        "workloads[0].model: got {'kind': 'gpt', 'heads': 3}, allowed a width that is a multiple of heads: 64 is none"
        " of 3",
    ),
    "a warmup longer than the tokens": (
        {"budget": {"tokens": 64 * 64 * 3}},
        "schedules[0].warmup.steps: got 4, allowed at most 3, the steps of workload text",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "line"), TASKS.values(), ids=TASKS)
def test_what_does_not_go_with_a_task_is_refused_with_what_does(study, change, line):
    warmup = {"kind": "linear", "steps": 4 if "longer" in line or "at most 3" in line else 2}
    document = study(workloads=[{**LANGUAGE, **change}], schedules__0__warmup=warmup)
    assert line in said(document)


def test_plain_values_of_what_images_have_may_stand_on_a_text(study):
    plain = {"kind": "pydoc", "augmentation": "none", "label_noise": {"kind": "none", "level": 0.0}}
    stated, left_out = (
        parse_study(study(workloads=[{**LANGUAGE, "dataset": one}])) for one in (plain, {"kind": "pydoc"})
    )
    assert stated.spec_hash == left_out.spec_hash


NO_MATRICES = {
    "kind: got 'adamw_w2', allowed a kind that needs no matrices": {"kind": "adamw_w2"},
    "adapt_on: got matrices, allowed all": {"kind": "lars"},
    "decay_on: got matrices, allowed all, or no weight_decay": {"kind": "adamw", "decay_on": "matrices"},
}


@pytest.mark.parametrize(("refused", "optimizer"), NO_MATRICES.items(), ids=NO_MATRICES)
def test_a_rule_for_matrices_is_refused_where_there_are_none(study, analytic, refused, optimizer):
    workloads = [study()["workloads"][0], analytic()]
    lines = said(study(workloads=workloads, optimizers__0=optimizer))
    assert lines == [f"optimizers[0].{refused}: the parameters of workload wall are one vector"]
    # linked so that they never meet
    apart = study(workloads=workloads, optimizers=[optimizer, {"kind": "sgd"}], link=[["workloads", "optimizers"]])
    parse_study(apart)


def test_a_preconditioner_that_there_is_none_of_is_refused(study):
    probes = [{"kind": "sharpness", "every_steps": 1}, {"kind": "preconditioned_sharpness", "every_steps": 1}]
    assert said(study(probes=probes, optimizers__0={"kind": "lion"})) == [
        "probes[1].kind: got 'preconditioned_sharpness', allowed sharpness with optimizer lion: steps of a fixed length"
        " have no preconditioner"
    ]
    parse_study(study(probes=probes))


@pytest.mark.parametrize(
    ("kind", "lacks"),
    [("gauss_newton", "outputs that a loss is taken of"), ("gradient_noise", "batches"), ("secant_noise", "batches")],
)
def test_what_an_analytic_function_lacks_is_not_measured_on_it(study, analytic, kind, lacks):
    (line,) = said(study(workloads=[analytic()], probes=[{"kind": kind, "every_steps": 1}]))
    assert line.startswith(f"probes[0].kind: got '{kind}', allowed ")
    assert f"with workload wall: an analytic function has no {lacks}" in line


@pytest.mark.parametrize(
    ("probe", "line"),
    [
        (
            {"kind": "secant_smoothness", "points": "middle"},
            "probes[0].points: got 'middle', allowed endpoint, midpoint",
        ),
        ({"kind": "secant_smoothness", "points": []}, "probes[0].points: got [], allowed "),
        ({"kind": "gradient_noise", "batch": {"count": 1}}, "probes[0].batch.count: got 1, allowed at least 2"),
        ({"kind": "secant_noise", "batch": {"count": 1}}, "probes[0].batch.count: got 1, allowed at least 2"),
        ({"kind": "directional_sharpness", "max_hvps": 9}, "probes[0].max_hvps: got 9, allowed no field of this name"),
    ],
)
def test_a_probe_that_says_what_it_cannot_is_refused(study, probe, line):
    (found,) = said(study(probes=[{**probe, "every_steps": 1}]))
    assert found.startswith(line)


def test_points_that_are_the_default_change_no_hash(study):
    probe = {"kind": "secant_smoothness", "every_steps": 4}
    plain, said_so, other = (parse_study(study(probes=[each])) for each in (
        probe, {**probe, "points": "endpoint"}, {**probe, "points": ["endpoint", "grid"]}
    ))  # fmt: skip
    assert plain.spec_hash == said_so.spec_hash != other.spec_hash
    assert plain.resolved["probes"][0].keys() == {"name", "kind", "every_steps", "during_warmup", "batch"}
    assert other.fields.probes[0].gradients_per_batch == 7


def test_two_layer_linear_brings_its_own_start(study, analytic):
    net = analytic(function={"kind": "two_layer_linear", "width": 8})
    allowed = "nothing: two_layer_linear starts from the seed's initialization"
    assert said(study(workloads=[net])) == [
        f"workloads[0].start: got {{'gap': 10.0, 'point': None, 'per_block': None}}, allowed {allowed}"
    ]
    del net["start"]
    parse_study(study(workloads=[net]))


def test_every_other_function_needs_a_start(study, analytic):
    wall = analytic()
    del wall["start"]
    assert said(study(workloads=[wall])) == ["workloads[0].start: got nothing, allowed a value: the field is required"]


STARTS = {
    "per_block where there are no blocks": (
        {"start": {"per_block": {"wall_gap": 1.0}}},
        "workloads[0].start.per_block",
        "gap or point with 1 coordinate",
    ),
    "gap of a river valley": (
        {"function": {"kind": "river_valley", "eigenvalues": [1.0]}},
        "workloads[0].start.gap",
        "per_block or point with 2 coordinates",
    ),
    "river of another length": (
        {
            "function": {"kind": "river_valley", "eigenvalues": [1.0]},
            "start": {"per_block": {"wall_gap": 1.0, "river": [1.0, 2.0]}},
        },
        "workloads[0].start.per_block.river",
        "1",
    ),
    "point of another length": (
        {"function": {"kind": "quadratic", "eigenvalues": [1.0, 2.0]}, "start": {"point": [1.0]}},
        "workloads[0].start.point",
        "2",
    ),
    "gap of several coordinates": (
        {"function": {"kind": "quadratic", "eigenvalues": [1.0, 2.0]}},
        "workloads[0].start.gap",
        "point with 2 coordinates: many points have this gap, or none",
    ),
    "stop at a gap that does not exist": (
        {
            "function": {"kind": "quadratic", "eigenvalues": [1.0, -2.0]},
            "start": {"point": [1.0, 1.0]},
            "stop": {"gap": 0.1},
        },
        "workloads[0].stop",
        "nothing: without an optimum there is no gap",
    ),
    "a point where the function is not": (
        {"function": {"kind": "inverse_power"}, "start": {"point": [-1.0]}},
        "workloads[0].start.point[0]",
        "above 0",
    ),
    "a point where the function is infinite": (
        {"function": {"kind": "inverse_power", "q": 2.0}, "start": {"point": [1e-200]}},
        "workloads[0].start.point[0]",
        "a point where w^(-q) is a finite number, with q=2",
    ),
    "a gap at an infinite point": (
        {"function": {"kind": "inverse_power", "q": 1e-10}, "start": {"gap": 0.5}},
        "workloads[0].start.gap",
        "a gap whose starting point is an ordinary number, with q=1e-10",
    ),
    "a gap at the pole": (
        {"function": {"kind": "inverse_power", "q": 1e-10}, "start": {"gap": 2.0}},
        "workloads[0].start.gap",
        "a gap whose starting point is an ordinary number, with q=1e-10",
    ),
    "a gap beyond a wall": (
        {"function": {"kind": "cosh", "k0": 1e-300, "k1": 1e300}, "start": {"gap": 1.0}},
        "workloads[0].start.gap",
        "a gap whose starting point is an ordinary number, with k0=1e-300, k1=1e+300",
    ),
    "a wall gap beyond a wall": (
        {
            "function": {"kind": "river_valley", "k0": 1e-300, "k1": 1e300, "eigenvalues": [1.0]},
            "start": {"per_block": {"wall_gap": 1.0}},
        },
        "workloads[0].start.per_block.wall_gap",
        "a gap whose starting point is an ordinary number, with k0=1e-300, k1=1e+300, eigenvalues=(1.0,)",
    ),
    "a gap of a parabola without a bottom": (
        {"function": {"kind": "quadratic", "eigenvalues": [1e-320]}, "start": {"gap": 10.0}},
        "workloads[0].start.gap",
        "a gap whose starting point is an ordinary number, with eigenvalues=(1e-320,)",
    ),
}


@pytest.mark.parametrize(("fields", "field", "allowed"), STARTS.values(), ids=STARTS)
def test_a_start_that_a_function_cannot_have_is_refused(study, analytic, fields, field, allowed):
    with pytest.raises(SpecError) as refused:
        parse_study(study(workloads=[analytic(**fields)]))
    (problem,) = refused.value.problems
    assert (field, allowed) == (problem.field, problem.allowed)


def test_every_problem_is_said_at_once(study):
    document = study(
        schema_version=3,
        seeds=0,
        optimizers__0__momentum={"sweep": [0.5, 2.0, 3.0]},
        workloads__0__model__kind="mpl",
        schedules=[],
        foo=1,
    )
    fields = [line.split(":")[0] for line in said(document)]
    assert fields == [
        "schema_version", "seeds", "foo", "schedules", "workloads[0].model.kind", "optimizers[0].momentum",
        "optimizers[0].momentum",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (
            {"workloads__0__model": {"kind": "plugin", "name": "my net"}},
            "workloads[0].model.name: got 'my net', allowed letters, digits and _ . - (a letter or _ first)",
        ),
        (
            {"plugins": [{"group": "models", "name": "m", "distribution": "m.py", "sha256": "12"}]},
            "plugins[0].sha256: got '12', allowed 64 digits of a sha256, 0-9 and a-f",
        ),
    ],
)
def test_a_text_of_another_form_is_refused_with_the_form(study, change, line):
    with pytest.raises(SpecError) as refused:
        parse_study(study(**change))
    assert [str(problem) for problem in refused.value.problems] == [line]


def test_an_optimizer_of_ones_own_is_called_by_its_label(study):
    same = [{"kind": "plugin", "name": "SGD"}, {"kind": "plugin", "name": "SGD"}]
    with pytest.raises(SpecError) as refused:
        parse_study(study(optimizers=same, peak_lrs={"values": [0.1]}))
    assert "optimizers[1].label: got 'SGD', allowed a value of its own: it is taken" in map(str, refused.value.problems)


def test_every_form_of_a_text_has_words():
    """Of all that a study may hold; a form without words would be a traceback."""
    found = re.findall(r'"pattern": ("(?:[^"\\\\]|\\\\.)*")', json.dumps(study_json_schema()))
    assert {json.loads(pattern) for pattern in found} <= set(problems._PATTERNS)
    assert len(set(found)) == len(problems._PATTERNS)


def test_an_unknown_baseline_and_a_long_warmup_are_said_together(study):
    document = study(
        analysis={"baseline": "nope"}, schedules__0__warmup={"kind": "linear", "steps": 500}, optimizers__0__eps=1.0
    )
    assert len(said(document)) == 3


LONG = {"schedules__0__warmup": {"kind": "linear", "steps": 500}}
TOGETHER = {
    "a wrong metric, an unknown baseline, a long warmup": (
        {"analysis": {"metric": "loss", "baseline": "nope"}, **LONG},
        ["analysis.metric", "analysis.baseline", "schedules[0].warmup.steps"],
    ),
    "what cannot be compared yet, and the rest of the analysis": (
        {"analysis": {"compare": "optimizer", "metric": "loss", "baseline": "nope"}},
        ["analysis.compare", "analysis.metric", "analysis.baseline"],
    ),
    "a wrong version and a long warmup": (
        {"schema_version": 3, **LONG},
        ["schema_version", "schedules[0].warmup.steps"],
    ),
    "no name and a long warmup": ({"name": 7, **LONG}, ["name", "schedules[0].warmup.steps"]),
    "a field too many in the schedule that is too long": (
        {**LONG, "schedules__0__speed": 1},
        ["schedules[0].speed", "schedules[0].warmup.steps"],
    ),
    "a field too many in the workload that is too short": (
        {**LONG, "workloads__0__speed": 1, "workloads__0__model__width": 3},
        ["workloads[0].model.width", "workloads[0].speed", "schedules[0].warmup.steps"],
    ),
    "too many trials and a long warmup": (
        {"seeds": {"count": 10**9}, **LONG},
        ["trials", "schedules[0].warmup.steps"],
    ),
    "too many steps and an unknown field": (
        {"workloads__0__budget": {"steps": 10**8}, "foo": 1},
        ["foo", "steps_per_trial"],
    ),
    # What depends on a refused field is not guessed at.
    "wrong rates": ({"peak_lrs": {"values": [-1.0]}}, ["peak_lrs.values[0]"]),
    "wrong seeds that are linked": (
        {"seeds": [-1, 2], "link": [["seeds", "workload.batch_size"]], "workloads__0__batch_size": {"sweep": [4, 8]}},
        ["seeds[0]"],
    ),
    "a wrong link": ({"link": 3, "workloads__0__batch_size": {"sweep": [4, 8]}, **LONG}, ["link"]),
}


@pytest.mark.parametrize(("change", "fields"), TOGETHER.values(), ids=TOGETHER)
def test_what_is_wrong_in_one_place_hides_nothing_in_another(study, change, fields):
    assert [line.split(":")[0] for line in said(study(**change))] == fields


def test_a_long_list_of_wrong_seeds_is_refused_in_a_time_that_grows_with_its_length(study):
    started = time.process_time()
    assert len(said(study(seeds=["x"] * 10_000))) == 10_000
    assert time.process_time() - started < 30


def test_of_very_many_unknown_fields_the_first_are_told_what_may_have_been_meant(study, monkeypatch):
    asked = []
    monkeypatch.setattr(problems, "did_you_mean", lambda name, known: asked.append(name) or " (did you mean it?)")
    lines = said(study(**{f"seed{index}": 1 for index in range(5_000)}))
    assert len(lines) == 5_000
    assert len(asked) == sum("did you mean" in line for line in lines) == problems.MAX_SUGGESTED


@pytest.mark.parametrize("document", [None, [], [1], "text", 3, True])
def test_what_is_no_mapping_is_refused(document):
    (line,) = said(document)
    assert line.startswith("study: got ")
    assert line.endswith("allowed a mapping")


def nested_sweeps():
    return {
        "optimizers__0__momentum": SWEEP_1000,
        "schedules__0": {
            "warmup": {"kind": "linear", "steps": {"sweep": list(range(1, 401))}, "start_factor": SWEEP_1000},
            "decay": {"kind": "cosine", "floor": SWEEP_1000},
        },
    }


@pytest.mark.parametrize("link", [[], [["workloads", "peak_lrs"]]], ids=["free", "linked"])
def test_sweeps_for_more_trials_than_atoms_are_counted_before_they_are_expanded(study, link):
    started = time.process_time()
    assert said(study(**nested_sweeps(), link=link)) == ["trials: got 400000000000, allowed at most 1000000"]
    assert time.process_time() - started < 10


def test_a_large_study_is_refused_for_its_size_and_for_what_else_is_wrong(study):
    document = study(**nested_sweeps(), foo=1)
    assert said(document) == [
        "foo: got 1, allowed no field of this name",
        "trials: got 400000000000, allowed at most 1000000",
    ]
    document = study(**nested_sweeps(), workloads__0__batch_size=0)
    assert said(document) == [
        "trials: got 400000000000, allowed at most 1000000",
        "workloads[0].batch_size: got 0, allowed at least 1 or full",
    ]


@pytest.mark.proof
def test_thousands_of_items_on_every_axis_are_counted_fast(study):
    document = study(
        workloads=[{**study()["workloads"][0], "name": f"w{index}"} for index in range(2000)],
        optimizers=[{"kind": "sgd", "name": f"o{index}"} for index in range(2000)],
        schedules=[{**study()["schedules"][0], "name": f"s{index}"} for index in range(2000)],
    )
    started = time.process_time()
    assert said(document) == ["trials: got 8000000000, allowed at most 1000000"]
    assert time.process_time() - started < 20


def test_thousands_of_small_sweeps_are_counted_before_they_are_expanded(study, monkeypatch):
    swept = {"warmup": {"kind": "linear", "steps": {"sweep": list(range(1, 19))}}, "decay": {"kind": "cosine"}}
    checked = []
    component = entries._component
    monkeypatch.setattr(entries, "_component", lambda *of: checked.append(of) or component(*of))
    document = study(schedules=[{**swept, "name": f"s{index}"} for index in range(2000)], seeds={"count": 1_000_000})
    assert said(document)[0].startswith("trials: got ")
    assert len(checked) < 5_000


def test_many_items_without_sweeps_are_all_checked_though_there_are_too_many_trials(study):
    one = study()["schedules"][0]
    document = study(
        schedules=[{**one, "name": f"s{index}"} for index in range(2500)] + [{**one, "name": "last", "warmup": 3}],
        seeds={"count": 1_000_000},
    )
    assert [line.partition(":")[0] for line in said(document)] == ["trials", "schedules[2500].warmup"]


def test_an_operator_may_set_other_limits(study):
    assert said(study(seeds={"count": 11}), Limits(trials=10)) == ["trials: got 11, allowed at most 10"]


def test_linked_sweeps_are_counted_as_zipped(study):
    steps = list(range(1, 2001))
    document = study(
        link=[["schedule.warmup.steps", "schedule.decay.floor"]],
        schedules__0={
            "warmup": {"kind": "linear", "steps": {"sweep": steps}},
            "decay": {"kind": "cosine", "floor": {"sweep": [step / 2000 for step in steps]}},
        },
        workloads__0__budget={"steps": 2000},
    )
    assert parse_study(document).num_trials() == 2000


def test_a_link_makes_only_the_pairs_that_meet_be_checked(study):
    document = study(
        link=[["workload.budget.steps", "schedule.warmup.steps"]],
        workloads__0__budget={"steps": {"sweep": [10, 100]}},
        schedules__0__warmup={"kind": "linear", "steps": {"sweep": [5, 50]}},
    )
    assert parse_study(document).num_trials() == 2
    document["schedules"][0]["warmup"]["steps"] = {"sweep": [50, 5]}
    assert said(document) == [
        "schedules[0].warmup.steps: got 50, allowed at most 10, the steps of workload digits budget.steps=10"
    ]


NOISE = {
    "another number of sigmas": (
        {"kind": "additive", "sigma": [0.1, 0.2]},
        "workloads[0].noise.sigma: got 2 numbers, allowed one, or 1, one for each coordinate",
    ),
    "another kind": (
        {"kind": "cauchy"},
        "workloads[0].noise.kind: got 'cauchy', allowed additive, multiplicative, abc",
    ),
    "a negative level": (
        {"kind": "multiplicative", "s": -1.0},
        "workloads[0].noise.s: got -1.0, allowed at least 0.0",
    ),
}


@pytest.mark.parametrize(("noise", "line"), NOISE.values(), ids=NOISE)
def test_noise_that_a_function_cannot_have_is_refused(study, analytic, noise, line):
    assert said(study(workloads=[analytic(noise=noise)])) == [line]


def test_noise_that_goes_with_the_gap_needs_one(study, analytic):
    saddle = {"function": {"kind": "quadratic", "eigenvalues": [1.0, -1.0]}, "start": {"point": [1.0, 1.0]}}
    (line,) = said(study(workloads=[analytic(**saddle, noise={"kind": "abc", "a": 1.0})]))
    assert line == "workloads[0].noise.a: got 1.0, allowed 0: without an optimum there is no gap"
    parse_study(study(workloads=[analytic(**saddle, noise={"kind": "abc", "b": 1.0})]))


SCHEDULES = {
    "polyak with a minimum seen so far": (
        {"kind": "polyak", "optimum": {"kind": "running_minimum"}},
        "schedules[0].warmup.optimum.kind: got 'running_minimum', allowed given, zero",
    ),
    "a replay above its peak": (
        {"kind": "replay", "peak_lr": 0.1, "rates": [0.1, 0.2]},
        "schedules[0].warmup: got {'kind': 'replay', 'peak_lr': 0.1, 'rates': [0.1, 0.2]}, allowed rates of at most"
        " peak_lr, the peak of the run that was recorded",
    ),
    "a replay longer than the run": (
        {"kind": "replay", "peak_lr": 0.1, "rates": [0.1] * 401},
        "schedules[0].warmup.rates: got 401 rates, allowed at most 400, the steps of workload digits",
    ),
    "a catapult start longer than the run": (
        {"kind": "catapult_start", "steps": 401},
        "schedules[0].warmup.steps: got 401, allowed at most 400, the steps of workload digits",
    ),
}


@pytest.mark.parametrize(("warmup", "line"), SCHEDULES.values(), ids=SCHEDULES)
def test_a_rule_without_what_it_needs_is_refused(study, warmup, line):
    assert said(study(schedules__0__warmup=warmup)) == [line]
