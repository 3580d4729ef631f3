"""What a follow-up freezes: it changes no trial, and is refused where it cannot be."""

import pytest

from schemas.errors import SpecError
from schemas.study import parse_study
from tests.e2e.specs import analytic

FROZEN = {
    "study": "0123456789abcdef",
    "spec_hash": "0" * 64,
    "name": "pilot",
    "workload": "wall",
    "optimizer": "gd",
    "law": {"response": "sharpness", "rho": 1.0, "k0": 1.0, "k_rho": 1.0, "optimum": 0.0, "answer": "supported"},
    "scale": 1.0,
    "scale_from": "stability",
    "pilot_gradients": 100.0,
    "configurations": 4,
    "warmup_needed": True,
    "arms": {"derived": "linear", "none": "none", "linear": "linear", "pilot_best": "none"},
    "predictions": [{"quantity": "warmup_steps", "value": 10.0, "low": 5.0, "high": 20.0}],
}


def refused(**changes):
    with pytest.raises(SpecError) as error:
        parse_study(analytic(20) | {"derived_from": FROZEN | changes})
    return [str(problem) for problem in error.value.problems]


def test_it_changes_the_spec_and_no_trial():
    plain, derived = parse_study(analytic(20)), parse_study(analytic(20) | {"derived_from": FROZEN})
    assert [trial.trial_id for trial in plain.trials({})] == [trial.trial_id for trial in derived.trials({})]
    assert plain.spec_hash != derived.spec_hash
    assert "derived_from" not in plain.resolved
    assert parse_study(dict(derived.resolved)).spec_hash == derived.spec_hash


def test_arms_are_schedules_of_the_study():
    assert refused(arms=FROZEN["arms"] | {"derived": "theirs", "none": "nothing"}) == [
        "derived_from.arms.derived: got 'theirs', allowed the name of a schedule: none, linear",
        "derived_from.arms.none: got 'nothing', allowed the name of a schedule: none, linear",
    ]


def test_a_prediction_lies_in_its_interval():
    (problem,) = refused(predictions=[{"quantity": "warmup_steps", "value": 10.0, "low": 11.0}])
    assert "low <= value <= high" in problem
    (problem,) = refused(predictions=[{"quantity": "glory", "value": 1.0, "low": 0.0}])
    assert "derived_from.predictions[0].quantity" in problem


def test_the_gap_of_the_law_may_be_counted_from_elsewhere_and_the_plain_default_changes_no_hash():
    document = analytic(20)
    plain = parse_study(document)
    assert "optimum" not in plain.resolved["analysis"]
    for optimum in ({"kind": "zero"}, {"kind": "given", "value": 0.5}, {"kind": "fitted"}):
        study = parse_study(document | {"analysis": document["analysis"] | {"optimum": optimum}})
        assert study.resolved["analysis"]["optimum"] == optimum
        assert study.spec_hash != plain.spec_hash
    with pytest.raises(SpecError, match=r"analysis\.optimum"):
        parse_study(document | {"analysis": document["analysis"] | {"optimum": {"kind": "running_minimum"}}})


def test_a_baseline_may_name_a_schedule_that_is_swept():
    document = analytic(20)
    document["schedules"][1]["warmup"]["steps"] = {"sweep": [2, 4]}
    document["analysis"]["baseline"] = "linear"
    assert parse_study(document).fields.analysis.baseline == "linear"
