"""From axes to trials, and back to a document with every default written out."""

from pathlib import Path

import pytest

from schemas.catalog import DatasetFacts
from schemas.presets import preset_names, preset_text
from schemas.study import parse_study
from service.spec_files import parse_document
from workers.results.write import as_yaml

FACTS = DatasetFacts(
    kind="digits", sha256="d" * 64, num_train=1149, num_validation=288, num_test=360, num_classes=10,
    input_shape=(64,), reference_loss=2.302,
)  # fmt: skip
DATASETS = {"digits": FACTS}


def trials(document):
    return list(parse_study(document).trials(DATASETS))


def test_a_study_is_the_product_of_its_axes(study):
    document = study(
        optimizers=[{"kind": "sgd", "momentum": {"sweep": [0.0, 0.9]}}, {"kind": "adam"}],
        peak_lrs={"values": [0.1, 0.2, 0.3]},
        seeds={"count": 2},
    )
    assert len(trials(document)) == parse_study(document).num_trials() == (2 + 1) * 3 * 2


def test_rates_of_a_schedule_override_those_of_an_optimizer_and_of_the_study(study):
    document = study(
        optimizers__0__peak_lrs={"values": [0.2]},
        schedules=[
            {"name": "a", "warmup": {"kind": "none"}, "decay": {"kind": "constant"}, "peak_lrs": {"values": [0.3]}},
            {"name": "b", "warmup": {"kind": "none"}, "decay": {"kind": "cosine"}},
        ],
    )
    assert [(trial.names[2], trial.peak_lr) for trial in trials(document)] == [("a", 0.3), ("b", 0.2)]


def test_batch_size_is_linked_with_learning_rate(study):
    document = study(
        link=[["workload.batch_size", "peak_lrs"]],
        workloads__0__batch_size={"sweep": [16, 32]},
        peak_lrs={"values": [0.1, 0.2]},
    )
    assert [(trial.workload.batch_size, trial.peak_lr) for trial in trials(document)] == [(16, 0.1), (32, 0.2)]


def test_workloads_are_linked_with_optimizers(study):
    first = study()["workloads"][0]
    document = study(
        link=[["workloads", "optimizers"]],
        workloads=[{**first, "name": "a"}, {**first, "name": "b", "batch_size": 8}],
        optimizers=[{"kind": "sgd"}, {"kind": "adam"}],
    )
    assert [trial.names[:2] for trial in trials(document)] == [("a", "sgd"), ("b", "adam")]


def test_a_sweep_is_linked_with_the_items_of_an_axis(study):
    first = study()["workloads"][0]
    document = study(
        link=[["workloads", "optimizer.momentum", "seeds"]],
        workloads=[{**first, "name": "a"}, {**first, "name": "b", "batch_size": 8}],
        optimizers__0__momentum={"sweep": [0.1, 0.2]},
        seeds=[7, 8],
    )
    assert [(t.names[0], t.optimizer.momentum, t.seed.noise) for t in trials(document)] == [
        ("a", 0.1, 7),
        ("b", 0.2, 8),
    ]
    assert parse_study(document).num_trials() == 2


@pytest.mark.parametrize(
    ("seeds", "labels"),
    [
        ({"count": 3}, ["0", "1", "2"]),
        ([5, 7], ["5", "7"]),
        ([{"initialization": 1, "data_order": 2, "noise": 3}, 4], ["1-2-3", "4"]),
    ],
)
def test_seeds_come_in_three_forms(study, seeds, labels):
    assert [trial.seed.label for trial in trials(study(seeds=seeds))] == labels


def test_a_whole_part_may_be_swept(study):
    warmups = [{"kind": "none"}, {"kind": "linear", "steps": 5}, {"kind": "exponential_convex", "fraction": 0.5}]
    document = study(schedules__0={"name": "s", "warmup": {"sweep": warmups}, "decay": {"kind": "constant"}})
    found = trials(document)
    assert [trial.schedule.warmup_steps(400) for trial in found] == [0, 5, 200]
    assert [trial.names[2] for trial in found] == [
        "s warmup=none", "s warmup=linear-5", "s warmup=exponential_convex-0.5",
    ]  # fmt: skip
    assert found[1].swept == {"schedule.warmup": warmups[1]}


def test_items_of_lists_and_kinds_may_be_swept(study):
    document = study(
        workloads__0__model__widths=[{"sweep": [8, 16]}, 4], optimizers__0={"kind": {"sweep": ["sgd", "adam"]}}
    )
    found = trials(document)
    assert {trial.workload.model.widths for trial in found} == {(8, 4), (16, 4)}
    assert {trial.optimizer.kind for trial in found} == {"sgd", "adam"}
    assert {trial.swept["workload.model.widths.0"] for trial in found} == {8, 16}


def test_a_swept_number_is_one_number_however_it_was_written(study):
    found = trials(study(optimizers__0__weight_decay={"sweep": [0, 1]}))
    assert [type(trial.swept["optimizer.weight_decay"]) for trial in found] == [float, float]


def test_variants_whose_values_read_alike_have_names_of_their_own(study):
    found = trials(study(optimizers__0__momentum={"sweep": [0.12345671, 0.12345672]}))
    assert [trial.names[1] for trial in found] == ["sgd momentum=0.123457", "sgd momentum=0.123457 (1)"]


def test_the_resolved_document_holds_every_default(study):
    resolved = parse_study(study(probes=[{"kind": "sharpness", "every_steps": 10}])).resolved
    assert (
        resolved["optimizers"][0] | {"momentum": 0.0, "weight_decay": 0.0, "name": "sgd"} == resolved["optimizers"][0]
    )
    assert resolved["workloads"][0]["precision"] == "float32"
    assert resolved["workloads"][0]["evaluation"] == {"every_steps": 50}
    assert resolved["probes"][0]["name"] == "sharpness"
    assert resolved["analysis"]["confidence"] == 0.95


SHAPES = {
    "plain": {},
    "sweeps": {
        "optimizers__0__momentum": {"sweep": [0, 0.5]},
        "schedules__0__warmup": {"sweep": [{"kind": "none"}, {"kind": "linear", "fraction": 0.1}]},
        "workloads__0__gradient_clip_norm": {"sweep": [None, 1.0]},
    },
    "unnamed": {
        "optimizers__0": {"kind": {"sweep": ["sgd", "adam"]}},
        "schedules__0": {
            "warmup": {"sweep": [{"kind": "none"}, {"kind": "linear", "steps": 7}]},
            "decay": {"kind": "cosine"},
        },
    },
    "linked": {
        "link": [["optimizer.momentum", "optimizer.weight_decay"]],
        "optimizers__0": {"kind": "sgd", "momentum": {"sweep": [0, 0.5]}, "weight_decay": {"sweep": [1e-7, 1]}},
    },
    "probes": {"probes": [{"kind": "sharpness", "every_steps": 3}, {"kind": "secant_smoothness", "every_steps": 1}]},
    "words": {"description": "no, 1e-3, 0o17: 'null' \"~\"\n\ttabbed é\u2028", "name": "1e-3"},
    "seeds": {"seeds": [{"initialization": 1, "data_order": 2, "noise": 3}, 4]},
}


@pytest.mark.parametrize("change", SHAPES.values(), ids=SHAPES)
def test_the_resolved_document_is_the_same_study(study, change):
    original = parse_study(study(**change))
    again = parse_study(parse_document(as_yaml(original.resolved)))
    assert again.resolved == original.resolved
    assert again.spec_hash == original.spec_hash
    assert [t.trial_id for t in again.trials(DATASETS)] == [t.trial_id for t in original.trials(DATASETS)]
    assert [t.names for t in again.trials(DATASETS)] == [t.names for t in original.trials(DATASETS)]
    for one, other in zip(original.variants("workloads"), again.variants("workloads"), strict=True):
        assert again.measurement_id(other.spec) == original.measurement_id(one.spec)


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_a_study(name):
    study = parse_study(parse_document(preset_text(name)))
    assert parse_study(parse_document(as_yaml(study.resolved))).spec_hash == study.spec_hash


def test_quickstart_is_the_example_but_for_its_name_and_how_often_it_measures():
    place = Path(__file__).parents[3] / "shared" / "design" / "study-example.yaml"
    if not place.exists():
        pytest.skip("shared/design is not beside this checkout")
    example, quickstart = parse_document(place.read_bytes()), parse_document(preset_text("quickstart"))
    # so often that probe_budget pays for every point
    secant, sharpness = example["probes"]
    probes = [{**secant, "every_steps": 40}, {**sharpness, "during_warmup": 2}]
    assert {**example, "name": "quickstart", "probes": probes} == quickstart


def test_a_grid_is_rounded_to_twelve_digits(study):
    document = study(peak_lrs={"grid": {"low": 3e-3, "high": 3, "count": 7, "spacing": "log"}})
    assert [trial.peak_lr for trial in trials(document)] == [
        0.003, 0.00948683298051, 0.03, 0.0948683298051, 0.3, 0.948683298051, 3.0,
    ]  # fmt: skip
    linear = study(peak_lrs={"grid": {"low": 0.1, "high": 0.3, "count": 3, "spacing": "linear"}})
    assert [trial.peak_lr for trial in trials(linear)] == [0.1, 0.2, 0.3]
