"""Which trials train as one: decided by what they run, stated once, the same every time."""

import json
from importlib import resources

import pytest

from schemas.not_yet import built_kinds
from schemas.own_parts import OwnParts, WorkloadFacts, workload_key
from schemas.plugins import PluginModel
from schemas.trials import total_steps
from tests.science.conftest import classification
from workers.planning import plan_packs
from workers.planning.facts import row_kind
from workers.planning.packs import CHUNK_STEPS, group_key, table_pack_size


def packs_of(trials, datasets, **settings):
    return plan_packs(trials, datasets, device_class="cpu", **settings)


def test_every_pack_of_a_group_has_the_table_s_size(expand, small, datasets):
    _, trials = expand(small(seeds={"count": 200}))
    [size] = {pack.size for pack in packs_of(trials[:1], datasets)}
    packs = packs_of(trials[: size + 2], datasets)
    assert [(pack.size, len(pack.trial_ids)) for pack in packs] == [(size, size), (size, 2)]


def test_every_trial_has_one_slot_in_order(expand, small, datasets):
    _, trials = expand(small(seeds={"count": 5}, optimizers=[{"kind": "sgd"}, {"kind": "adam"}]))
    packs = packs_of(trials, datasets, pack_size=3)
    assert [id_ for pack in packs for id_ in pack.trial_ids] == [trial.trial_id for trial in trials]
    assert len({pack.pack_id for pack in packs}) == len(packs) == 4


def test_a_plan_is_a_pure_function_of_its_arguments(expand, small, datasets):
    document = small(seeds={"count": 30}, optimizers=[{"kind": "sgd"}, {"kind": "adam"}])
    assert packs_of(expand(document)[1], datasets) == packs_of(expand(document)[1], datasets)


@pytest.mark.parametrize(
    "fields",
    [
        {"seeds": {"count": 2}},
        {"peak_lrs": {"values": [0.1, 0.2]}},
        {"optimizers": [{"kind": "sgd", "momentum": {"sweep": [0.0, 0.9]}}]},
        {"optimizers": [{"kind": "sgd", "weight_decay": {"sweep": [0.0, 0.1]}}]},
        {"optimizers": [{"kind": "adam", "betas": [0.9, {"sweep": [0.9, 0.99]}]}]},
        {"optimizers": [{"kind": "adamw", "eps": {"sweep": [1e-8, 1e-6]}}]},
        {"optimizers": [{"kind": "adamw_w2", "tau": {"sweep": [1e-3, 1e-2]}}]},
        {"optimizers": [{"kind": "lars", "trust_coefficient": {"sweep": [1e-3, 1e-2]}}]},
        {
            "schedules": [
                {"name": "a", "warmup": {"kind": "none"}, "decay": {"kind": "cosine"}},
                {"name": "b", "warmup": {"kind": "linear", "steps": 9}, "decay": {"kind": "linear"}},
            ]
        },
    ],
)
def test_trials_that_run_the_same_operations_share_a_pack(expand, small, datasets, fields):
    _, trials = expand(small(**fields))
    assert len(trials) == 2
    assert len(packs_of(trials, datasets)) == 1


LAW = {"kind": "smoothness_law", "rule": "descent", "k0": 1.0, "k_rho": 1.0, "optimum": {"kind": "zero"}}


@pytest.mark.parametrize(
    "fields",
    [
        {"workload": {"batch_size": {"sweep": [32, 64]}}},
        {"workload": {"budget": {"steps": {"sweep": [10, 20]}}}},
        {"workload": {"precision": {"sweep": ["float32", "float64"]}}},
        {"workload": {"gradient_clip_norm": {"sweep": [None, 1.0]}}},
        {"optimizers": [{"kind": "adam"}, {"kind": "adamw"}]},
        {"optimizers": [{"kind": "sgd", "momentum": 0.9, "nesterov": {"sweep": [False, True]}}]},
        {"optimizers": [{"kind": "adamw", "decay_on": {"sweep": ["all", "matrices"]}}]},
        {"optimizers": [{"kind": "adamw", "couple_to_lr": {"sweep": [True, False]}}]},
        {"optimizers": [{"kind": "lamb", "adapt_on": {"sweep": ["all", "matrices"]}}]},
        {"schedules": [{"warmup": {"sweep": [LAW, {"kind": "none"}]}, "decay": {"kind": "constant"}}]},
        {"schedules": [{"warmup": {**LAW, "rule": {"sweep": ["descent", "liu"]}}, "decay": {"kind": "constant"}}]},
    ],
)
def test_trials_that_run_other_operations_train_apart(expand, small, datasets, fields):
    _, trials = expand(small(**fields))
    assert len(trials) == 2
    assert len(packs_of(trials, datasets)) == 2


def test_probes_and_names_are_no_part_of_a_group(expand, small):
    probes = [{"kind": "sharpness", "every_steps": 5}]
    found = {
        group_key(expand(document)[1][0])
        for document in (small(), small(probes=probes), small(workload={"name": "other"}, name="x"))
    }
    assert len(found) == 1


def test_a_chunk_is_about_two_seconds_where_the_past_is_known(expand, small, datasets):
    _, trials = expand(small())
    key = group_key(trials[0])
    assert packs_of(trials, datasets)[0].chunk_steps == CHUNK_STEPS
    assert packs_of(trials, datasets, steps_per_second={key: 20.0})[0].chunk_steps == 40
    assert packs_of(trials, datasets, steps_per_second={key: 0.1})[0].chunk_steps == 1
    assert packs_of(trials, datasets, steps_per_second={key: 1e6})[0].chunk_steps == 400


def test_a_large_model_gets_short_chunks_before_it_has_a_past(expand, small, datasets):
    _, trials = expand(small(workload={"model": {"kind": "mlp", "widths": [4096, 4096]}}))
    assert packs_of(trials, datasets, pack_size=1)[0].chunk_steps < 10


def test_a_checkpoint_is_planned_in_whole_chunks_about_every_twenty_seconds(expand, small, datasets):
    _, trials = expand(small())
    key = group_key(trials[0])

    def planned(**known):
        (pack, *_) = packs_of(trials, datasets, **known)
        return pack.chunk_steps, pack.checkpoint_steps

    assert planned(steps_per_second={key: 20.0}) == (40, 400)
    assert planned(steps_per_second={key: 0.1}) == (1, 2)
    chunk, checkpoint = planned()
    assert checkpoint % chunk == 0
    assert chunk < checkpoint <= 10_000


def test_a_pack_makes_as_many_steps_as_its_trials(expand, small, datasets):
    _, trials = expand(small(workload={"budget": {"epochs": 2}}))
    assert packs_of(trials, datasets)[0].total_steps == total_steps(trials[0].workload, datasets["digits"]) == 36


def test_the_table_of_pack_sizes_ends_in_a_row_without_bound():
    table = json.loads((resources.files("workers.planning") / "pack_sizes.json").read_text(encoding="utf-8"))
    for by_kind in table["pack_sizes"].values():
        assert {"analytic", *built_kinds()["model"]} <= set(by_kind)
        for rows in by_kind.values():
            bounds = [row["max_parameters"] for row in rows]
            assert bounds[-1] is None
            assert bounds[:-1] == sorted(bounds[:-1])
            assert all(row["pack_size"] >= 1 for row in rows)


def test_an_unknown_gpu_has_the_sizes_of_any_gpu():
    assert table_pack_size("NVIDIA H200", "mlp", 1000) == table_pack_size("cuda", "mlp", 1000)
    assert table_pack_size("cpu", "mlp", 100_001) == 8


def test_own_nets_with_convolutions_have_packs_of_the_size_that_ours_have():
    workload = classification(model=PluginModel(kind="plugin", name="conv"))
    sizes = []
    for has_convolutions in (False, True):
        facts = WorkloadFacts(num_parameters=5_000, has_convolutions=has_convolutions)
        kind = row_kind(workload, OwnParts(workloads={workload_key(workload): facts}))
        sizes.append(table_pack_size("cpu", kind, facts.num_parameters))
    assert sizes == [table_pack_size("cpu", "plugin", 5_000), table_pack_size("cpu", "resnet", 5_000)] == [64, 1]
