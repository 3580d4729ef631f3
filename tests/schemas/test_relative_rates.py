"""Peak learning rates as multiples of 1/sharpness: what may be stated, what ids hash, and what is refused."""

import copy

import pytest

from schemas.errors import SpecError
from schemas.study import parse_study

UNIT = {"quantity": "sharpness", "scope": "trial"}
OF_STUDY = {"quantity": "preconditioned_sharpness", "scope": "study"}


def rates(unit=None, values=(1.0, 2.0)):
    return {"values": list(values)} | ({"relative_to": unit} if unit else {})


def said(document):
    with pytest.raises(SpecError) as refusal:
        parse_study(document)
    return [str(problem) for problem in refusal.value.problems]


def analytic_trials(document):
    return list(parse_study(document).trials({}))


def test_a_trial_carries_its_multiple_and_the_unit(study, analytic):
    document = study(workloads=[analytic()], peak_lrs=rates(OF_STUDY), seeds=[7, 9])
    trials = analytic_trials(document)
    assert [trial.peak_lr for trial in trials] == [1.0, 1.0, 2.0, 2.0]
    assert {trial.first_initialization for trial in trials} == {7}
    assert len({trial.trial_id for trial in trials}) == 4
    assert len({trial.cell_id for trial in trials}) == 2
    plain = analytic_trials(study(workloads=[analytic()], peak_lrs=rates(), seeds=[7, 9]))
    assert not {trial.trial_id for trial in trials} & {trial.trial_id for trial in plain}


def test_a_seed_more_changes_no_id(study, analytic):
    few, many = (
        analytic_trials(study(workloads=[analytic()], peak_lrs=rates(OF_STUDY), seeds={"count": count}))
        for count in (2, 3)
    )
    assert {trial.trial_id for trial in few} < {trial.trial_id for trial in many}


def test_a_study_without_a_unit_resolves_to_what_it_was(study):
    parsed = parse_study(study())
    assert parsed.resolved["peak_lrs"] == {"values": [0.1], "grid": None}
    assert not parsed.multiples


def test_a_resolved_study_says_its_unit_and_is_the_same_study(study):
    parsed = parse_study(study(optimizers__0__peak_lrs=rates(UNIT), peak_lrs=rates()))
    assert parsed.resolved["optimizers"][0]["peak_lrs"]["relative_to"] == UNIT
    assert parse_study(copy.deepcopy(dict(parsed.resolved))).spec_hash == parsed.spec_hash
    assert parsed.multiples == {("sgd", "none")}


REFUSED = {
    "another quantity": ({"quantity": "gap"}, "peak_lrs.relative_to.quantity: got 'gap', allowed sharpness or"),
    "another scope": (UNIT | {"scope": "pack"}, "peak_lrs.relative_to.scope: got 'pack', allowed trial or study"),
    "no quantity": ({"scope": "trial"}, "peak_lrs.relative_to.quantity: got nothing"),
    "no mapping": ("sharpness", "peak_lrs.relative_to: got 'sharpness', allowed a mapping"),
}


@pytest.mark.parametrize(("unit", "line"), REFUSED.values(), ids=REFUSED)
def test_a_unit_that_is_none_is_refused(study, unit, line):
    (found,) = said(study(peak_lrs=rates(unit)))
    assert found.startswith(line)


@pytest.mark.parametrize("optimizer", [{"kind": "lion"}, {"kind": "adamw_w2"}], ids=lambda one: one["kind"])
def test_an_optimizer_without_a_preconditioner_has_no_preconditioned_unit(study, optimizer):
    (line,) = said(study(peak_lrs=rates(OF_STUDY), optimizers=[optimizer, {"kind": "adam"}]))
    assert line.startswith("peak_lrs.relative_to.quantity: got preconditioned_sharpness, allowed sharpness beside")
    parse_study(study(peak_lrs=rates(UNIT), optimizers=[optimizer]))


def test_one_optimizers_rates_have_one_unit(study):
    two = [
        {"name": name, "warmup": {"kind": "none"}, "decay": {"kind": "constant"}, **own}
        for name, own in (("a", {}), ("b", {"peak_lrs": rates(UNIT)}))
    ]
    (line,) = said(study(schedules=two))
    assert line.startswith("schedules[1].peak_lrs.relative_to: got {'quantity': 'sharpness', 'scope': 'trial'}")
    assert "allowed nothing, as at peak_lrs" in line


def test_a_quadratic_that_nowhere_curves_up_has_no_unit(study, analytic):
    saddle = analytic(function={"kind": "quadratic", "eigenvalues": [-1.0, 0.0]}, start={"point": [1.0, 1.0]})
    (line,) = said(study(workloads=[saddle], peak_lrs=rates(UNIT)))
    assert line == (
        "workloads[0].function.eigenvalues: got [-1.0, 0.0], allowed one above 0: peak_lrs are multiples of 1/sharpness"
    )
    parse_study(study(workloads=[saddle], peak_lrs=rates()))
    apart = [saddle, analytic(name="other")]
    linked = study(
        workloads=apart, link=[["workloads", "optimizers"]], peak_lrs=rates(),
        optimizers=[{"kind": "sgd"}, {"kind": "adam", "peak_lrs": rates(UNIT)}],
    )  # fmt: skip
    parse_study(linked)
