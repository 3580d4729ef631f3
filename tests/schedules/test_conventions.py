"""What other libraries make of the same schedule, update by update: golden tables made by the libraries themselves."""

import json
from pathlib import Path

import numpy as np
import pytest

from schemas.conventions import COMBINATIONS
from schemas.schedule_checks import run_problems, schedule_problems
from schemas.schedules import Schedule
from workers.schedules import factors

ROWS = json.loads(Path(__file__).with_name("convention_tables.json").read_text(encoding="utf-8"))
OTHERS = sorted(COMBINATIONS)


def spec(convention, warmup, decay):
    return Schedule.model_validate({"convention": convention, "warmup": warmup, "decay": decay})


def linear(steps=4, **fields):
    return {"kind": "linear", "steps": steps, **fields}


NONE, COSINE = {"kind": "none"}, {"kind": "cosine"}


def rows(convention, decay):
    return [
        row for row in ROWS if (row["schedule"]["convention"], row["schedule"]["decay"]["kind"]) == (convention, decay)
    ]


PAIRS = [(convention, decay) for convention in OTHERS for decay in COMBINATIONS[convention]]


@pytest.mark.parametrize(("convention", "decay"), PAIRS)
def test_a_convention_reproduces_its_library(convention, decay):
    for row in rows(convention, decay):
        found = factors(Schedule.model_validate(row["schedule"]), row["total_steps"])
        np.testing.assert_allclose(found, row["factors"], rtol=0, atol=1e-13, err_msg=row["call"])


@pytest.mark.parametrize(("convention", "decay"), PAIRS)
def test_every_combination_of_a_convention_has_a_golden_row(convention, decay):
    assert {row["schedule"]["warmup"]["kind"] for row in rows(convention, decay)} == set(
        COMBINATIONS[convention][decay]
    )


def test_the_first_update_of_hf_is_made_at_rate_0_and_ours_is_not():
    schedule = {"warmup": linear(), "decay": COSINE}
    hf = factors(Schedule.model_validate({**schedule, "convention": "hf"}), 12)
    ours = factors(Schedule.model_validate(schedule), 12)
    np.testing.assert_allclose(hf[:5], [0, 0.25, 0.5, 0.75, 1], atol=0)
    np.testing.assert_allclose(ours[:4], [0.25, 0.5, 0.75, 1], atol=0)
    # one update later, the same steepness of warmup; the decay is as long
    assert hf.argmax() == ours.argmax() + 1 == 4


def test_one_step_of_warmup_is_none_in_ours_and_a_wasted_update_in_hf():
    assert spec("ours", linear(1), COSINE).resolve(10) == spec("ours", NONE, COSINE)
    hf = spec("hf", linear(1), COSINE)
    assert hf.resolve(10) == hf
    assert factors(hf, 10)[:2].tolist() == [0, 1]
    assert spec("hf", linear(0), COSINE).resolve(10) == spec("hf", NONE, COSINE)


def test_a_warmup_as_long_as_the_run_never_reaches_its_peak_where_positions_count_from_0():
    assert spec("ours", linear(10), COSINE).reaches_peak(10)
    assert not spec("hf", linear(10), COSINE).reaches_peak(10)
    assert factors(spec("hf", linear(10), COSINE), 10).max() == 0.9


@pytest.mark.parametrize("warmup_fraction", [0.3, 0.25])
def test_one_cycle_of_torch_reaches_its_peak_only_where_its_phase_ends_at_an_update(warmup_fraction):
    cycle = spec("torch", NONE, {"kind": "one_cycle", "warmup_fraction": warmup_fraction})
    assert cycle.reaches_peak(12) == (factors(cycle, 12).max() == 1.0) == (warmup_fraction == 0.25)
    assert cycle.end_step(12) == 3


REFUSED = {
    "torch cannot start at 0": (
        ("torch", linear(), COSINE),
        "warmup.start_factor: got 0.0, allowed above 0 in convention torch: LinearLR refuses 0, its default is 1/3",
    ),
    "hf starts at 0": (
        ("hf", linear(start_factor=0.5), COSINE),
        "warmup.start_factor: got 0.5, allowed 0.0 in convention hf",
    ),
    "wsd of hf starts at the floor": (
        ("hf", linear(start_factor=0.5), {"kind": "wsd", "cooldown_steps": 2, "floor": 0.1}),
        "warmup.start_factor: got 0.5, allowed 0.1, decay.floor: wsd starts there, in convention hf",
    ),
    "wsd of hf with a cosine starts at the floor": (
        ("hf", {"kind": "cosine", "steps": 4}, {"kind": "wsd", "cooldown_steps": 2, "floor": 0.1}),
        "decay.floor: got 0.1, allowed 0.0 in convention hf with warmup cosine, which would start there",
    ),
    "a cool-down that the library has not": (
        ("timm", linear(), {"kind": "wsd", "cooldown_steps": 2, "cooldown": "exponential", "half_life_steps": 2.0}),
        "decay.cooldown: got exponential, allowed linear or one_minus_sqrt in convention timm",
    ),
    "a warmup that the library has not": (
        ("timm", {"kind": "geometric", "steps": 4}, COSINE),
        "convention: got timm, allowed ours for warmup geometric with decay cosine",
    ),
    "a decay that the library has not": (
        ("fairseq", linear(), {"kind": "exponential", "gamma": 0.9}),
        "convention: got fairseq, allowed ours or torch or timm or optax for warmup linear with decay exponential",
    ),
    "noam": (
        ("hf", NONE, {"kind": "noam", "warmup_steps": 4}),
        "convention: got hf, allowed ours for warmup none with decay noam",
    ),
    "fairseq's fixed rate has no start": (
        ("fairseq", linear(start_factor=0.5), {"kind": "constant"}),
        "warmup.start_factor: got 0.5, allowed 0.0 in convention fairseq with decay constant",
    ),
    "the one cycle of optax": (
        ("optax", NONE, {"kind": "one_cycle", "three_phase": True}),
        "convention: got optax, allowed ours or torch for a one_cycle other than cosine in two phases",
    ),
    "asymptotic": (
        ("torch", {"kind": "exponential_concave", "tau_steps": 5.0}, COSINE),
        "convention: got torch, allowed ours for warmup exponential_concave with decay cosine",
    ),
    "closed loop": (
        (
            "hf",
            {"kind": "smoothness_law", "rule": "descent", "k0": 1.0, "k_rho": 1.0, "optimum": {"kind": "zero"}},
            COSINE,
        ),
        "convention: got hf, allowed ours for warmup smoothness_law with decay cosine",
    ),
}


@pytest.mark.parametrize(("schedule", "line"), REFUSED.values(), ids=REFUSED)
def test_what_a_library_does_not_have_is_refused_by_name(schedule, line):
    assert [str(problem) for problem in schedule_problems(spec(*schedule))] == [line]


DOES_NOT_FIT = {
    "no decay of 0 steps": (
        ("timm", linear(12), COSINE),
        "warmup: got 12 steps, allowed below 12, the run: timm has no decay of 0 steps",
    ),
    "fairseq without a warmup": (
        ("fairseq", linear(0), {"kind": "inverse_sqrt"}),
        "warmup: got 0 steps, allowed at least 1 step: fairseq's inverse_sqrt decays from the warmup's length",
    ),
    "OneCycleLR of 1 step": (
        ("torch", NONE, {"kind": "one_cycle", "warmup_fraction": 0.25}),
        "decay.warmup_fraction: got 0.25, allowed more, or less: OneCycleLR divides by zero at 1 step of warmup",
    ),
}


@pytest.mark.parametrize(("schedule", "line"), DOES_NOT_FIT.values(), ids=DOES_NOT_FIT)
def test_what_a_library_cannot_do_in_a_run_of_this_length_is_refused(schedule, line):
    total_steps = 4 if schedule[0] == "torch" else 12
    assert [str(problem) for problem in run_problems(spec(*schedule), total_steps, "the run")] == [line]
    with pytest.raises(ValueError, match="allowed"):
        factors(spec(*schedule), total_steps)
