"""Why, from curvature: what was planted is told, and nothing where nothing can be told."""

import numpy as np
import pytest

from schemas.not_yet import built_kinds
from workers.analysis import analyse
from workers.analysis.question import read_question

START, SEEDS = 10.0, 3


@pytest.fixture
def told(tmp_path, write_folder, small_spec, make_row):
    """A study whose sharpness at step 10 is `after[schedule]` -> the entries of its verdict that say why.

    Rates 0.1 and 1.0, of which 0.1 is usable without warmup and `usable` with it; sharpness starts at 10.
    """

    def tell(
        after,
        *,
        usable=0.1,
        converged=True,
        seeds=SEEDS,
        secant=None,
        optimizer=None,
        points=(0, 10),
        model=None,
        also=(),
    ):
        rows, probes = [], []
        for schedule, largest in (("none", 0.1), ("warm", usable)):
            for rate in (0.1, 1.0):
                for seed in range(seeds):
                    loss = 0.3 + 0.01 * seed if rate <= largest else 2.3
                    row = make_row(schedule, rate, seed, loss, warmup_steps=5 * (schedule == "warm"))
                    rows.append(row | {"outcome": "trained" if rate <= largest else "stalled"})
                    for step in points:
                        value = after[schedule] + seed if step else START + seed
                        probes.append(probe_row(row, "sharpness", step, value, 1.0, converged))
                    for step, (loss, value) in enumerate(secant or ()):
                        probes.append(probe_row(row, "secant_smoothness", step, value, loss, True))
        asked = [{"name": "sharpness", "kind": "sharpness", "every_steps": 10}]
        asked += [{"name": "secant_smoothness", "kind": "secant_smoothness", "every_steps": 1}] if secant else []
        asked += [{"name": kind, "kind": kind, "every_steps": 10} for kind in also]
        spec = {**small_spec, "probes": asked, "probe_budget": 0.3}
        spec["optimizers"] = [{"name": "o", **(optimizer or {"kind": "sgd", "momentum": 0.0})}]
        spec["workloads"] = [{**small_spec["workloads"][0], **({"model": model} if model else {})}]
        full = [trial_of(row) for row in rows]
        (sentences,) = analyse(write_folder(tmp_path / "f", {"trials": full, "probes": probes}), spec).verdicts.values()
        first = next((n for n, each in enumerate(sentences) if each.startswith("Why (curvature): ")), len(sentences))
        return " ".join(sentences[first:])

    return tell


def trial_of(row):
    common = {
        "model": "mlp",
        "dataset": "digits",
        "state": "done",
        "reason": "budget",
        "outcome_step": -1,
        "device": "cpu",
    }
    numbers = {"lr_multiple": np.nan, "start_loss": 2.4, "reference_loss": 2.3, "steps_to_target": -1, "slot": 0}
    return {**common, **numbers, "pack_id": "p", **row}


def probe_row(row, probe, step, value, loss, converged):
    spent = {"num_hvps": 5, "num_gradients": 1, "converged": converged}
    return {"trial_id": row["trial_id"], "step": step, "probe": probe, "value": value, "loss": loss, "lr": 0.1, **spent}


def test_a_rate_below_two_over_sharpness_is_said_to_be_stable_without_warmup(told):
    words = told({"none": 4.0, "warm": 4.0})
    assert "sharpness at the start is 11 (median of 3 seeds, 10 to 12)" in words
    assert "unstable above LR 0.182 (2/sharpness)." in words
    assert "none's best peak LR is 1.1/sharpness (below 2), so by this measure stable from the first step" in words
    assert "the next, not usable, 11/sharpness (above 2): the threshold lies in between" in words


def test_momentum_moves_the_threshold(told):
    words = told({"none": 4.0, "warm": 4.0}, optimizer={"kind": "sgd", "momentum": 0.5})
    assert "above LR 0.182 (2/sharpness), with momentum built up above 0.273." in words


def test_nesterov_has_thresholds_of_its_own(told):
    words = told({"none": 4.0, "warm": 4.0}, optimizer={"kind": "sgd", "momentum": 0.5, "nesterov": True})
    assert "above LR 0.121 (1.33/sharpness), with momentum built up above 0.136." in words


def test_sharpness_that_falls_in_every_seed_is_told_with_what_it_does_without_warmup(told):
    words = told({"none": 4.0, "warm": 5.0}, usable=1.0)
    assert (
        "(step 10), each at its largest usable peak LR, sharpness is 6 with warm (lower than at the start in 3 of 3"
        in words
    )
    assert "without warmup 5: it falls in every seed, as its median does without warmup." in words
    assert "as its median does not without warmup" in told({"none": 14.0, "warm": 5.0})


def test_sharpness_that_does_not_fall_is_not_said_to_explain_anything(told):
    assert "it does not fall in every seed, so a curvature that falls" in told({"none": 4.0, "warm": 20.0})


def test_without_converged_points_at_the_start_nothing_is_told(told):
    words = told({"none": 4.0, "warm": 5.0}, converged=False)
    assert words.startswith(
        "Why (curvature): cannot be told: sharpness at the start converged in 0 of 3 seeds (0 of 12 "
    )
    assert "unstable" not in words


def test_a_probe_that_was_thinned_away_leaves_nothing_to_tell(told):
    assert "cannot be told: sharpness at the start converged in 0 of 3 seeds (0 of 0 points" in told({}, points=())


def test_for_an_adaptive_optimizer_the_threshold_is_not_used(told):
    words = told({"none": 4.0, "warm": 5.0}, optimizer={"kind": "adamw"})
    assert "cannot be told for o: its stability threshold concerns the Hessian preconditioned" in words
    assert "unstable" not in words
    assert "it falls" not in words


def test_where_the_preconditioned_sharpness_was_measured_too_it_is_not_said_that_only_the_plain_one_was(told):
    words = told({"none": 4.0, "warm": 5.0}, optimizer={"kind": "adamw"}, also=["preconditioned_sharpness"])
    assert "the plain one was measured" not in words
    assert "the figure of sharpness x learning rate sets that one's against it" in words
    fixed = told({"none": 4.0, "warm": 5.0}, optimizer={"kind": "lion"}, also=["preconditioned_sharpness"])
    assert "steps of a fixed length have no stability threshold. " in fixed


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("lars", "preconditioned by its rates by layer"),
        ("lamb", "preconditioned by its second moments and its rates by layer"),
        ("lion", "steps of a fixed length have no stability threshold"),
    ],
)
def test_the_other_kinds_say_why_the_threshold_is_not_theirs(told, kind, said):
    words = told({"none": 4.0, "warm": 5.0}, optimizer={"kind": kind})
    assert words.startswith("Why (curvature): cannot be told for o: ")
    assert said in words
    assert "unstable" not in words


def test_every_kind_has_a_threshold_or_says_why_it_has_none(small_spec):
    for kind in built_kinds()["optimizer"]:
        question = read_question({**small_spec, "optimizers": [{"name": "o", "kind": kind}]})
        assert (question.stability_products("o") is None) != (question.no_threshold("o") is None), kind


def test_a_planted_power_law_of_secant_smoothness_over_gap_is_found(told):
    words = told({"none": 4.0, "warm": 5.0}, secant=[(gap, 3 * gap**0.5) for gap in (2.0, 1.0, 0.5, 0.1)])
    assert "Secant smoothness goes as gap^0.5 (median over trials" in words
    assert "rising in 6 of 6); loss and time fall together" in words


def test_a_study_that_measures_nothing_says_nothing_of_curvature(write_trials, small_spec, make_row):
    rows = [make_row(name, 0.1, seed, 0.3) for name in ("none", "warm") for seed in (0, 1)]
    assert "curvature" not in analyse(write_trials(rows), small_spec).verdict


def test_in_mup_the_threshold_of_the_plain_sharpness_is_not_used(told):
    words = told({"none": 4.0, "warm": 5.0}, model={"kind": "mlp", "parametrization": "mup"})
    assert words.startswith("Why (curvature): cannot be told for o: its stability threshold concerns the Hessian ")
    assert "preconditioned by mup's factors on the rate" in words
    assert "unstable" not in words
    assert "unstable" in told({"none": 4.0, "warm": 5.0}, model={"kind": "mlp", "parametrization": "standard"})
