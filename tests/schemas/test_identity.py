"""What is the same trial, and what is not; the canonical form that ids are hashed from."""

import copy
import hashlib
import json
import struct

import pytest
import rfc8785
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.base import canonical_json, without_defaults
from schemas.catalog import DatasetFacts
from schemas.study import parse_study
from schemas.trials import SCIENCE_REVISION

FACTS = DatasetFacts(
    kind="digits", sha256="d" * 64, num_train=1149, num_validation=288, num_test=360, num_classes=10,
    input_shape=(64,), reference_loss=2.302,
)  # fmt: skip


def ids(document):
    return [trial.trial_id for trial in parse_study(document).trials({"digits": FACTS})]


def with_warmup(study, **warmup):
    return study(schedules__0__warmup=warmup)


def reversed_keys(node):
    if isinstance(node, dict):
        return {key: reversed_keys(node[key]) for key in reversed(node)}
    return [reversed_keys(item) for item in node] if isinstance(node, list) else node


def test_the_order_of_keys_changes_no_id(study):
    assert ids(reversed_keys(study())) == ids(study())


def test_names_change_no_id(study):
    renamed = study(name="other", workloads__0__name="x", optimizers__0__name="y", schedules__0__name="z")
    assert ids(renamed) == ids(study())


def test_defaults_written_out_change_no_id(study):
    assert ids(copy.deepcopy(dict(parse_study(study()).resolved))) == ids(study())


def test_a_field_that_came_later_changes_no_id_and_no_spec_hash_until_it_is_set(study):
    plain, stated, used = (
        study(optimizers__0={"kind": "sgd", "momentum": 0.9, **more})
        for more in ({}, {"nesterov": False}, {"nesterov": True})
    )
    assert ids(plain) == ids(stated) != ids(used)
    assert parse_study(plain).spec_hash == parse_study(stated).spec_hash != parse_study(used).spec_hash
    assert parse_study(used).resolved["optimizers"][0]["nesterov"] is True


def test_none_and_warmups_of_zero_and_one_step_are_the_same_trial(study):
    same = [with_warmup(study, kind="none")]
    same += [
        with_warmup(study, kind=kind, steps=steps) for kind in ("linear", "exponential_convex") for steps in (0, 1)
    ]
    same += [
        with_warmup(study, kind="linear", fraction=0.001),
        with_warmup(study, kind="linear", steps=1, start_factor=0.5),
    ]
    assert {tuple(ids(document)) for document in same} == {tuple(ids(study()))}


def test_a_fraction_is_the_same_trial_as_its_steps(study):
    by_fraction, by_steps = with_warmup(study, kind="linear", fraction=0.2), with_warmup(study, kind="linear", steps=80)
    assert ids(by_fraction) == ids(by_steps)
    assert parse_study(by_fraction).spec_hash != parse_study(by_steps).spec_hash


def test_lengths_of_decays_are_the_same_trial_as_fractions_and_as_steps(study):
    for kind, name in (("wsd", "cooldown"), ("noam", "warmup")):
        by_fraction, by_steps = (
            study(schedules__0__decay={"kind": kind, f"{name}_{unit}": value})
            for unit, value in (("fraction", 0.2), ("steps", 80))
        )
        assert ids(by_fraction) == ids(by_steps)
    by_fraction, by_steps = (
        with_warmup(study, kind="exponential_concave", **tau) for tau in ({"tau_fraction": 0.2}, {"tau_steps": 80.0})
    )
    assert ids(by_fraction) == ids(by_steps)


def test_a_beta2_that_is_given_is_the_same_trial_as_that_of_the_optimizer(study):
    def of(warmup_beta2, optimizer_beta2):
        beta2 = {} if warmup_beta2 is None else {"beta2": warmup_beta2}
        adam = {"kind": "adam", "betas": [0.9, optimizer_beta2]}
        return ids(study(optimizers__0=adam, schedules__0__warmup={"kind": "radam", **beta2}))

    assert of(None, 0.99) == of(0.99, 0.99) != of(0.999, 0.99)


def test_one_step_of_warmup_is_another_trial_where_a_convention_makes_it_at_rate_0(study):
    def of(convention, warmup):
        return ids(study(schedules__0={"convention": convention, "warmup": warmup, "decay": {"kind": "cosine"}}))

    none, zero, one = {"kind": "none"}, {"kind": "linear", "steps": 0}, {"kind": "linear", "steps": 1}
    assert of("ours", none) == of("ours", zero) == of("ours", one)
    assert of("hf", none) == of("hf", zero) != of("hf", one)


def test_where_the_rates_are_stated_changes_no_id(study):
    on_optimizer = study(peak_lrs=None, optimizers__0__peak_lrs={"values": [0.1]})
    on_schedule = study(peak_lrs=None, schedules__0__peak_lrs={"grid": {"low": 0.1, "high": 0.1, "count": 1}})
    assert ids(on_optimizer) == ids(on_schedule) == ids(study())


@pytest.mark.parametrize(
    "change",
    [
        {"workloads__0__evaluation": {"every_steps": 7}},
        {"probes": [{"kind": "sharpness", "every_steps": 5}]},
        {"probes": [{"kind": "secant_smoothness", "every_steps": 5}], "probe_budget": 0.1},
    ],
)
def test_what_is_measured_is_no_part_of_a_trial_but_of_its_measurement(study, change):
    plain, measured = parse_study(study()), parse_study(study(**change))
    assert ids(study(**change)) == ids(study())
    assert measured.measurement_id(next(measured.variants("workloads")).spec) != plain.measurement_id(
        next(plain.variants("workloads")).spec
    )


def test_neither_the_order_of_probes_nor_a_name_that_is_the_kind_changes_the_measurement(study):
    one = {"kind": "sharpness", "every_steps": 5}
    other = {"kind": "secant_smoothness", "every_steps": 5}
    found = set()
    for probes in ([one, other], [other, one], [{**one, "name": "sharpness"}, other]):
        parsed = parse_study(study(probes=probes))
        found.add(parsed.measurement_id(next(parsed.variants("workloads")).spec))
    assert len(found) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"workloads__0__batch_size": 32},
        {"workloads__0__budget": {"steps": 401}},
        {"workloads__0__precision": "float64"},
        {"workloads__0__gradient_clip_norm": 1.0},
        {"workloads__0__model__widths": [128]},
        {"optimizers__0__momentum": 0.5},
        {"optimizers__0__kind": "adam"},
        {"schedules__0__decay": {"kind": "cosine"}},
        {"schedules__0__warmup": {"kind": "linear", "steps": 2}},
        {"peak_lrs": {"values": [0.2]}},
        {"seeds": [1]},
        {"seeds": [{"initialization": 0, "data_order": 0, "noise": 1}]},
    ],
)
def test_what_can_change_a_number_changes_the_id(study, change):
    assert ids(study(**change)) != ids(study())


def test_the_data_is_part_of_a_trial(study):
    other = FACTS.model_copy(update={"sha256": "e" * 64})
    assert [t.trial_id for t in parse_study(study()).trials({"digits": other})] != ids(study())


def test_a_cell_is_a_trial_without_its_seed(study):
    found = list(parse_study(study(seeds={"count": 3}, peak_lrs={"values": [0.1, 0.2]})).trials({"digits": FACTS}))
    assert len({trial.trial_id for trial in found}) == 6
    assert len({trial.cell_id for trial in found}) == 2


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rate=st.floats(1e-300, 1e300),
    seed=st.integers(0, 2**53 - 1),
    momentum=st.floats(0, 0.999),
    steps=st.integers(0, 400),
    clip=st.none() | st.floats(1e-8, 1e8),
)
def test_the_identity_put_together_by_hand_is_the_canonical_json_of_the_whole(study, rate, seed, momentum, steps, clip):
    document = study(
        peak_lrs={"values": [rate]}, seeds=[seed], optimizers__0__momentum=momentum,
        schedules__0__warmup={"kind": "linear", "steps": steps}, workloads__0__gradient_clip_norm=clip,
    )  # fmt: skip
    (trial,) = parse_study(document).trials({"digits": FACTS})
    outside = {"name", "peak_lrs", "evaluation"}
    parts = {
        part: {name: value for name, value in without_defaults(getattr(trial, part)).items() if name not in outside}
        for part in ("workload", "optimizer", "schedule")
    }
    whole = {
        **parts, "peak_lr": trial.peak_lr, "seed": trial.seed.model_dump(), "dataset_sha256": FACTS.sha256,
        "science_revision": SCIENCE_REVISION,
    }  # fmt: skip
    assert hashlib.sha256(rfc8785.dumps(whole)).hexdigest() == trial.trial_id
    del whole["seed"]
    assert hashlib.sha256(rfc8785.dumps(whole)).hexdigest() == trial.cell_id


# RFC 8785, Appendix B: IEEE 754 bits -> text.
NUMBERS = {
    "0000000000000000": "0", "8000000000000000": "0", "0000000000000001": "5e-324",
    "8000000000000001": "-5e-324", "7fefffffffffffff": "1.7976931348623157e+308",
    "ffefffffffffffff": "-1.7976931348623157e+308", "4340000000000000": "9007199254740992",
    "c340000000000000": "-9007199254740992", "4430000000000000": "295147905179352830000",
    "44b52d02c7e14af5": "9.999999999999997e+22", "44b52d02c7e14af6": "1e+23",
    "44b52d02c7e14af7": "1.0000000000000001e+23", "444b1ae4d6e2ef4e": "999999999999999700000",
    "444b1ae4d6e2ef4f": "999999999999999900000", "444b1ae4d6e2ef50": "1e+21",
    "3eb0c6f7a0b5ed8c": "9.999999999999997e-7", "3eb0c6f7a0b5ed8d": "0.000001",
    "41b3de4355555553": "333333333.3333332", "41b3de4355555554": "333333333.33333325",
    "41b3de4355555555": "333333333.3333333", "41b3de4355555556": "333333333.3333334",
    "41b3de4355555557": "333333333.33333343", "becbf647612f3696": "-0.0000033333333333333333",
    "43143ff3c1cb0959": "1424953923781206.2",
}  # fmt: skip


@pytest.mark.parametrize(("bits", "text"), NUMBERS.items())
def test_numbers_are_written_as_rfc_8785_says(bits, text):
    (number,) = struct.unpack(">d", bytes.fromhex(bits))
    assert canonical_json(number) == text.encode()


def test_keys_are_sorted_by_utf_16_units_and_texts_escaped_as_rfc_8785_says():
    value = {"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\x80": 6, "\xf6": 7}
    assert list(json.loads(canonical_json(value))) == ["\r", "1", "\x80", "\xf6", "\u20ac", "\U0001f600", "\ufb33"]
    assert canonical_json("\u20ac$\x0f\nA'B\"\\/") == b'"\xe2\x82\xac$\\u000f\\nA\'B\\"\\\\/"'


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**53 + 1])
def test_what_json_cannot_carry_has_no_canonical_form(value):
    with pytest.raises(rfc8785.CanonicalizationError):
        canonical_json(value)
