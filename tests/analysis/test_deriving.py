"""What a derived rate is measured against: half of the threshold that the fitted curvature has, by optimizer."""

import math
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from schemas.errors import SpecError
from workers.analysis.derived import Derived, Outcome, derived_sentences
from workers.analysis.deriving import _foretold, _scale
from workers.analysis.follow_up import _check_scale
from workers.analysis.intervals import mean_interval
from workers.analysis.question import read_question
from workers.laws.power_law import PowerLaw
from workers.laws.warmup_of_law import LawPath

SGD, PLAIN, PRECONDITIONED = {"kind": "sgd", "momentum": 0.0}, "sharpness", "preconditioned_sharpness"
ADAM = {"kind": "adam", "betas": [0.9, 0.999]}
LAW = PowerLaw(1.0, 1.0, 1.0)
PILOT = 0.2 * 5.0
"""The usable rate of the pilot's baseline x the law at its start, a gap of 4."""


def scale_of(optimizer, response, *, mup=False):
    question = read_question({"optimizers": [{"name": "o", **optimizer}]})
    usable = SimpleNamespace(usable=SimpleNamespace(rate=8.0, cell=3))  # a multiple; its trials have the rates
    group = SimpleNamespace(optimizer_entry="o", is_mup=mup, baseline=usable, ranked=[])
    trials = pd.DataFrame({"cell": [3, 3, 3, 4], "peak_lr": [0.1, 0.2, 0.3, 9.0]})
    pilot = SimpleNamespace(question=question, table=SimpleNamespace(trials=trials))
    return _scale(pilot, group, SimpleNamespace(response=response, fit=SimpleNamespace(law=LAW)), 4.0)


@pytest.mark.parametrize(
    ("optimizer", "response", "mup", "expected"),
    [
        (SGD, PLAIN, False, (1.0, "stability")),
        (SGD | {"momentum": 0.9}, PLAIN, False, (1.9, "stability")),
        (SGD | {"momentum": 0.9, "nesterov": True}, PLAIN, False, (1.9 / 2.8, "stability")),
        (SGD, PRECONDITIONED, False, (1.0, "stability")),
        (SGD, PRECONDITIONED, True, (1.0, "stability")),
        (SGD, PLAIN, True, (PILOT, "pilot")),
        (ADAM, PRECONDITIONED, False, (19.0, "stability")),
        (ADAM, PLAIN, False, (PILOT, "pilot")),
        ({"kind": "schedule_free_adamw", "betas": [0.9, 0.999]}, PRECONDITIONED, False, (10.0, "stability")),
        ({"kind": "lars", "momentum": 0.9}, PRECONDITIONED, False, (1.9, "stability")),
        (SGD | {"momentum": {"sweep": [0.0, 0.9]}}, PLAIN, False, (PILOT, "pilot")),
        ({"kind": "lion", "betas": [0.9, 0.99]}, PLAIN, False, (PILOT, "pilot")),
    ],
)
def test_the_scale_is_half_of_the_threshold_of_what_was_measured(optimizer, response, mup, expected):
    scale, source = scale_of(optimizer, response, mup=mup)
    assert (pytest.approx(scale, rel=1e-12), source) == expected


@pytest.mark.parametrize(("scale_from", "at_edge"), [("pilot", True), ("pilot", False), ("stability", True)])
def test_a_pilot_that_never_failed_without_warmup_has_no_scale_of_its_own(scale_from, at_edge):
    baseline = SimpleNamespace(schedule="none", usable=SimpleNamespace(rate=0.1, at_edge=at_edge))
    group, derived = SimpleNamespace(baseline=baseline), SimpleNamespace(scale_from=scale_from)
    _check_scale(group, derived, even_so=True)
    refused = pytest.raises(SpecError, match=r"peak_lrs: got none is usable at 0\.1, the largest peak LR, allowed")
    with refused if (scale_from, at_edge) == ("pilot", True) else nullcontext():
        _check_scale(group, derived, even_so=False)


@pytest.mark.parametrize("needed", [True, False])
def test_where_no_warmup_is_needed_none_is_foretold(needed):
    """The shortest length that is no worse than the best is then 0, however slowly the rate would rise."""
    rates = np.array([[0.5, 0.8, 1.0, 1.0]])
    path = LawPath(rates, rates, np.array([1.0]), np.array([3.0]))
    fit = SimpleNamespace(law=LAW, envelope=LAW, gap_low=0.1, gap_high=1.0)
    length, *others = _foretold(fit, path, path, 1.0, 3, needed=needed)
    assert (length.quantity, length.value) == ("warmup_steps", 3.0 if needed else 0.0)
    assert (length.low, length.high) == ((1, 6) if needed else (0, 6))
    assert [each.quantity for each in others] == ["rate_stable_at_once", "curvature_after_warmup"]
    assert others[0].high == math.inf


@pytest.mark.parametrize("answer", ["supported", "not supported", "not identifiable"])
def test_a_law_that_the_pilot_did_not_support_is_said_beside_what_came_of_it(answer):
    held = Outcome("warmup_steps", 3.0, 1.0, 6.0, 4.0, True)
    nothing = mean_interval([], 0.95)
    found = Derived("g", "pilot", answer, True, True, 4.0, (0.0, 4.0), nothing, nothing, {"derived": 9.0}, (held,))
    told = derived_sentences(found, SimpleNamespace(label="g"), read_question({}))
    assert told[0] == "Derived from pilot: warmup was needed, by 4 steps (lengths tried: 0, 4)."
    assert told[-2].startswith("The law had foretold it: it said needed, and 1 of 1 number lie")
    assert any("The pilot did not support the law" in each for each in told) == (answer != "supported")
