"""The papers' presets: their trials, their GPU-sized siblings, and those in closed form against design/theory.md."""

import pytest

from schemas.presets import preset_text
from schemas.study import parse_study
from service.spec_files import parse_document

TRIALS = {
    "alimisis2025-bounds": 80,
    "kalra2024-gi-adam": 135,
    "kalra2024-mechanism": 64,
    "kalra2024-phase-mlp": 72,
    "liu2025-separation": 88,
    "liu2025-separation-noise": 800,
    "liu2025-smoothness": 24,
}
SIBLINGS = {name: f"{name}-gpu" for name in TRIALS} | {"kalra2024-phase-mlp": "kalra2024-phase-gpu"}


def study_of(name):
    return parse_study(parse_document(preset_text(name)))


def kinds(study, axis):
    return [(entry.name, {one.spec.kind for one in entry.variants.values()}) for entry in study.axes[axis]]


@pytest.mark.parametrize("name", TRIALS)
def test_a_paper_s_preset_has_its_trials_and_a_sibling_of_a_gpu_s_size(name):
    ours, larger = study_of(name), study_of(SIBLINGS[name])
    assert ours.num_trials() == TRIALS[name]
    assert (ours.fields.execution.device, larger.fields.execution.device) == ("auto", "cuda")
    assert kinds(ours, "optimizers") == kinds(larger, "optimizers")
    assert [probe.kind for probe in ours.fields.probes] == [probe.kind for probe in larger.fields.probes]
    assert ours.fields.analysis.metric == larger.fields.analysis.metric
    steps = [[one.spec.budget.steps for one in study.variants("workloads")] for study in (ours, larger)]
    assert max(steps[1]) > max(steps[0])


def ended(make, name, workload, keep):
    """(schedule, peak LR) -> result, of a preset's trials on one workload that `keep` chooses, in one pack."""
    trials = [each for each in study_of(name).trials({}) if each.names[0] == workload and keep(each)]
    results = make.run(make.pack(*trials, chunk=500), None).results
    return {(trial.names[2], trial.peak_lr): result for trial, result in zip(trials, results, strict=True)}


T3 = {10: (5, 8, 20, 105), 100: (7, 14, 33, 149), 1000: (9, 21, 46, 194), 10000: (12, 28, 60, 240)}


@pytest.mark.parametrize("gap", T3)
def test_the_bounds_preset_has_the_counts_of_t3(make, gap):
    found = ended(make, "alimisis2025-bounds", f"cosh start.gap={gap}", lambda each: each.names[2] != "constant")
    steps = {schedule: result.outcome_step for (schedule, _), result in found.items()}
    assert steps == dict(zip(("descent", "liu-1", "liu-half", "alimisis"), T3[gap], strict=True))


CONSTANTS = {  # gap: at 0.999 and 1.001 of the cap, 1/(1 + D), 1/(10 + 20 D), within the budget; None diverges
    10: {0.563402199281: 12, 0.564530131611: None, 0.0909090909091: 74, 0.0047619047619: 1_500},
    100: {0.105013760145: 57, 0.105223997903: None, 0.00990099009901: 726},
    1000: {0.0151734337627: 475, 0.0152038110075: None, 0.000999000999001: 7_254},
    10000: {0.0019785389475: 3_645, 0.00198249998643: None},
}


@pytest.mark.parametrize("gap", [pytest.param(gap, marks=pytest.mark.proof if gap > 100 else ()) for gap in CONSTANTS])
def test_the_bounds_preset_has_the_constant_rates_of_t3(make, gap):
    expected = CONSTANTS[gap]
    found = ended(make, "alimisis2025-bounds", f"cosh start.gap={gap}", lambda each: each.peak_lr in expected)
    for peak, steps in expected.items():
        result = found["constant", peak]
        assert (result.outcome == "diverged") == (steps is None), peak
        if steps is not None:
            assert (result.outcome_step, result.reason) == (steps, "stop"), peak


@pytest.mark.proof
def test_the_separation_preset_has_the_tuned_constant_of_t5(make):
    found = ended(make, "liu2025-separation", "until-1e-6", lambda each: each.peak_lr == 0.0151734337627)
    assert found["constant", 0.0151734337627].outcome_step == 5_080


@pytest.mark.proof
def test_the_separation_preset_has_row_1000_of_t5(make):
    found = ended(make, "liu2025-separation", "until-1e-6", lambda each: each.peak_lr == 1.0)
    steps = {schedule: result.outcome_step for (schedule, _), result in found.items() if result.outcome == "trained"}
    assert steps["linear-warmup warmup.steps=70"] == 109
    assert {name: steps[name] for name in ("descent", "liu", "alimisis")} == {
        "descent": 106,
        "liu": 303,
        "alimisis": 1394,
    }
    assert not any("60" in name or "69" in name for name in steps), "shorter lines diverge"


def gaps_of_t6(make, workload):
    """Final gaps by schedule and multiple, the best constant's, and how much smaller each rule's is."""
    found = ended(make, "liu2025-separation", workload, lambda _: True)
    gaps = {key: result.final["train_loss"] for key, result in found.items() if result.outcome == "trained"}
    best = min(gap for (schedule, _), gap in gaps.items() if schedule == "constant")
    return gaps, best, {rule: best / gaps[rule, 1.0] for rule in ("descent", "liu", "alimisis")}


@pytest.mark.proof
def test_the_separation_preset_has_the_ratios_of_t6_at_1000(make):
    _, _, ratios = gaps_of_t6(make, "T-1000")
    assert ratios == pytest.approx({"descent": 65.9, "liu": 31.8, "alimisis": 5.48}, rel=5e-3)


def test_the_separation_preset_has_the_ratios_of_t6(make):
    gaps, best, ratios = gaps_of_t6(make, "T-100")
    assert ratios == pytest.approx({"descent": 8.898, "liu": 3.554, "alimisis": 0.0619}, rel=2e-3)
    assert min(gap for (schedule, _), gap in gaps.items() if schedule == "linear-decay") > best
