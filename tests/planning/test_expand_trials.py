"""Trials once the data is known: distinct, inside the limits that need the data's shape."""

import pytest

from schemas.errors import DataMissing, SpecError
from schemas.limits import Limits
from schemas.study import parse_study
from schemas.trials import total_steps
from workers.planning import expand_trials, plan_packs


def refused(expand, document, limits=None):
    with pytest.raises(SpecError) as said:
        expand(document, limits)
    return [str(problem) for problem in said.value.problems]


def warmup(**fields):
    return [{"name": "s", "warmup": {"kind": "linear", **fields}, "decay": {"kind": "constant"}}]


def test_a_warmup_longer_than_its_epochs_is_refused(expand, small):
    # 2 epochs of 1,149 examples in batches of 64: 36 steps
    document = small(workload={"budget": {"epochs": 2}}, schedules=warmup(steps=37))
    assert refused(expand, document) == [
        "schedules[0].warmup.steps: got 37, allowed at most 36, the steps of workload digits"
    ]
    expand(small(workload={"budget": {"epochs": 2}}, schedules=warmup(steps=36)))


def test_only_the_schedules_that_a_workload_meets_are_checked_against_its_epochs(expand, small):
    document = small(
        workload={"budget": {"epochs": {"sweep": [1, 10]}}},
        schedules=warmup(steps={"sweep": [18, 180]}),
        link=[["workload.budget.epochs", "schedule.warmup.steps"]],
    )
    assert len(expand(document)[1]) == 2


def test_two_ways_to_say_the_same_trial_are_refused(expand, small):
    same = [*warmup(steps=1), {"name": "none", "warmup": {"kind": "none"}, "decay": {"kind": "constant"}}]
    assert refused(expand, small(schedules=same)) == [
        "schedules: got s and none, which make the same trial, allowed trials that differ in their numbers"
    ]


@pytest.mark.parametrize(
    ("fields", "limits", "expected"),
    [
        ({"workload": {"budget": {"epochs": 10**6}}}, {}, "steps_per_trial: got 17953125, allowed at most 10000000"),
        (
            {"workload": {"model": {"kind": "mlp", "widths": [40000, 40000]}}},
            {},
            "parameters_per_model: got 1603040010, allowed at most 1000000000",
        ),
        (
            {"probes": [{"kind": "secant_smoothness", "every_steps": 1}]},
            {"probe_points_per_trial": 399},
            "probe_points_per_trial: got 400, allowed at most 399",
        ),
        ({"seeds": {"count": 3}}, {"record_bytes": 41447}, "record_bytes: got 41448, allowed at most 41447"),
        (
            {"workload": {"batch_size": 1150}},
            {},
            "workloads[0].batch_size: got 1150, allowed at most 1149, the training examples of digits",
        ),
        (
            {"probes": [{"kind": "sharpness", "every_steps": 100, "batch": {"size": 2000}}]},
            {},
            "probes[0].batch.size: got 2000, allowed at most 1149, the training examples of digits",
        ),
    ],
)
def test_a_limit_that_needs_the_data_is_kept(expand, small, fields, limits, expected):
    assert refused(expand, small(**fields), Limits(**limits)) == [expected]


def test_a_data_set_that_no_catalog_row_vouches_for_is_missing(small):
    with pytest.raises(DataMissing, match="data set digits is not in the catalog"):
        expand_trials(parse_study(small()), {})


CIFAR10 = {"kind": "cifar10"}


@pytest.mark.parametrize(
    ("workload", "expected"),
    [
        (
            {"dataset": {**CIFAR10, "subset": 10_001}},
            ["workloads[0].dataset.subset: got 10001, allowed at most 10000, the training examples of cifar10"],
        ),
        (
            {"dataset": {**CIFAR10, "subset": 63}},
            ["workloads[0].batch_size: got 64, allowed at most 63, the subset of cifar10 that is trained on"],
        ),
        (
            {"dataset": CIFAR10, "model": {"kind": "vit", "patch": 5}},
            ["workloads[0].model.patch: got 5, allowed a divisor of 32 and 32, the sides of cifar10"],
        ),
        (
            {"dataset": {"kind": "fashion_mnist"}, "model": {"kind": "resnet"}},
            [
                "workloads[0].dataset.kind: got fashion_mnist, allowed images, of shape [channels, height, width] or"
                " flat and square: its examples are [12]"
            ],
        ),
    ],
)
def test_data_that_does_not_fit_is_refused(expand, small, workload, expected):
    assert refused(expand, small(workload=workload)) == expected


def test_an_epoch_and_a_full_batch_are_of_the_subset(expand, small, datasets):
    _, (trial,) = expand(small(workload={"dataset": {**CIFAR10, "subset": 640}, "budget": {"epochs": 3}}))
    assert total_steps(trial.workload, datasets["cifar10"]) == 30
    full = {"dataset": {**CIFAR10, "subset": 640}, "batch_size": "full", "budget": {"epochs": 3}}
    _, (trial,) = expand(small(workload=full))
    assert total_steps(trial.workload, datasets["cifar10"]) == 3


def test_the_first_chunk_of_a_convolutional_net_is_short(expand, small, datasets):
    # 41 million multiply-adds for each of 64 images, 6 operations each: 16 gigaflops a step
    model = {"kind": "resnet", "depth": 20}
    _, trials = expand(small(workload={"dataset": CIFAR10, "model": model, "precision": "float32"}))
    [pack] = plan_packs(trials, datasets, device_class="cpu", pack_size=1)
    assert pack.chunk_steps == 2
