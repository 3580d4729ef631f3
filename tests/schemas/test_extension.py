"""What a wider study says otherwise than the one that it extends is named field by field."""

from copy import deepcopy

from schemas.extension import component_problems, measurement_problems
from schemas.study import parse_study
from tests.e2e.specs import digits

NAMES = {"workloads": {"digits-mlp"}, "optimizers": {"sgd", "adamw"}, "schedules": {"none", "linear"}}


def studies(change):
    """A study, and the same after `change` of its document."""
    document = digits(60)
    changed = deepcopy(document)
    change(changed)
    return parse_study(document), parse_study(changed)


def said(problems):
    return [str(problem) for problem in problems]


def test_the_same_study_differs_in_nothing():
    old, new = studies(lambda document: None)
    assert component_problems(old, new, NAMES) == []
    assert measurement_problems(old, new, ["digits-mlp"]) == []


def test_a_changed_field_is_named_with_what_the_study_has():
    old, new = studies(lambda document: document["workloads"][0]["model"].update(widths=[32]))
    assert said(component_problems(old, new, NAMES)) == [
        "workloads[0].model.widths: got (32,), allowed (16,), as the study has it"
    ]


def test_components_that_nobody_asked_for_are_passed_over():
    old, new = studies(lambda document: document["optimizers"][0].update(momentum=0.5))
    assert component_problems(old, new, {"optimizers": {"adamw"}}) == []
    assert len(component_problems(old, new, {"optimizers": {"sgd"}})) == 1


def test_a_component_of_another_kind_lists_what_each_has_alone():
    old, new = studies(lambda document: document["schedules"][1].update(warmup={"kind": "none"}))
    assert "schedules[1].warmup.kind: got 'none', allowed 'linear', as the study has it" in said(
        component_problems(old, new, NAMES)
    )
    assert "schedules[1].warmup.steps: got nothing, allowed 10, as the study has it" in said(
        component_problems(old, new, NAMES)
    )


def test_rates_and_evaluation_are_no_difference_of_a_component():
    def change(document):
        document["optimizers"][0]["peak_lrs"] = {"values": [0.5]}
        document["workloads"][0]["evaluation"] = {"every_steps": 7}

    old, new = studies(change)
    assert component_problems(old, new, NAMES) == []
    assert said(measurement_problems(old, new, ["digits-mlp"])) == [
        "workloads[0].evaluation.every_steps: got 7, allowed 12, as the study has it"
    ]


def test_probes_that_are_gone_new_or_changed_and_their_budget_are_named():
    def change(document):
        document["probes"] = [{"kind": "sharpness", "every_steps": 5}, {"kind": "sharpness", "name": "often"}]
        document["probes"][1]["every_steps"] = 1
        document["probe_budget"] = 1.0

    old, new = studies(change)
    assert said(measurement_problems(old, new, [])) == [
        "probes: got 'sharpness', 'often', allowed also 'secant_smoothness': the probes of the study",
        "probes[0].every_steps: got 5, allowed 30, as the study has it",
        "probes[0].relative_tolerance: got 0.01, allowed 0.05, as the study has it",
        "probes[1]: got 'often', allowed the probes of the study: its trials have not been measured so",
        "probe_budget: got 1.0, allowed 2.0, as the study has it",
    ]


def test_probes_in_another_order_measure_the_same():
    old, new = studies(lambda document: document["probes"].reverse())
    assert measurement_problems(old, new, ["digits-mlp"]) == []
