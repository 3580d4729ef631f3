"""Probes while training: they change no bit of it, and what they spend is counted."""

import numpy as np
import pytest

from schemas.functions import Quadratic
from schemas.optimizers import SGD
from schemas.probes import ProbeBatch, SecantSmoothness, Sharpness
from schemas.records import names
from schemas.trials import Member, PackTask, ProbePoints
from schemas.workloads import Analytic, AnalyticBudget, Start

SECANT = SecantSmoothness(kind="secant_smoothness", every_steps=10, batch=ProbeBatch(size=16, count=2))
SHARPNESS = Sharpness(kind="sharpness", every_steps=10, max_hvps=8)


def points(*steps, hvps=40):
    return {"secant_smoothness": ProbePoints(steps=steps), "sharpness": ProbePoints(steps=steps, hvps_allowed=hvps)}


def test_probes_on_and_off_give_the_same_training_bits(make, blobs):
    trials = [make.trial(peak_lr=0.1 * (1 + i), seed=make.seed(i)) for i in range(3)]
    on = make.run(make.pack(*trials, probes=(SECANT, SHARPNESS), points=points(0, 4, 10, 29)), blobs)
    off = make.run(make.pack(*trials), blobs)
    for table in ("steps", "evaluations"):
        for name in names(table)[1:]:
            assert on.tables[table][name].tobytes() == off.tables[table][name].tobytes()
    assert on.trainer.state_dict()["loop.params"].tobytes() == off.trainer.state_dict()["loop.params"].tobytes()


def test_each_member_is_measured_at_its_own_steps(make, blobs):
    trials = [make.trial(seed=make.seed(i)) for i in range(3)]
    plans = [points(0, 10), {}, {"sharpness": ProbePoints(steps=(3, 30), hvps_allowed=20)}]
    members = tuple(Member(i, spec, plan) for i, (spec, plan) in enumerate(zip(trials, plans, strict=True)))
    done = make.run(PackTask("pack", 4, members, (SECANT, SHARPNESS), chunk_steps=7), blobs)
    rows = {
        (i, s, p) for i, s, p in zip(*(done.tables["probes"][n] for n in ("trial_id", "step", "probe")), strict=True)
    }
    first, _, third = (spec.trial_id for spec in trials)
    expected = {(first, step, probe) for step in (0, 10) for probe in ("secant_smoothness", "sharpness")}
    assert rows == expected | {(third, 3, "sharpness"), (third, 30, "sharpness")}


def test_what_probes_spend_is_in_the_result(make, blobs):
    spec = make.trial()
    done = make.run(make.pack(spec, probes=(SECANT, SHARPNESS), points=points(0, 10, 20)), blobs)
    table, result = done.tables["probes"], done.results[0]
    is_secant = table["probe"] == "secant_smoothness"
    assert table["num_gradients"][is_secant].tolist() == [4, 4, 4]
    assert result.hvps == table["num_hvps"].sum() > 0
    spent = 12 * 16 / 32 + table["num_gradients"][~is_secant].sum()
    assert result.gradients == pytest.approx(30 + spent)


def test_the_secant_is_taken_along_the_real_update(make, blobs):
    done = make.run(make.pack(make.trial(), probes=(SECANT,), points=points(0, 12)), blobs)
    steps, probes = done.tables["steps"], done.tables["probes"]
    np.testing.assert_allclose(probes["step_norm"], steps["update_norm"][[0, 12]], rtol=1e-4)
    np.testing.assert_array_equal(probes["lr"], steps["lr"][[0, 12]])


def test_probe_batches_are_the_same_for_all_trials_and_named(make, blobs):
    # two trials with the same start and another data order
    one, two = make.trial(seed=make.seed(0)), make.trial(optimizer=SGD(kind="sgd"))
    table = make.run(make.pack(one, two, probes=(SECANT,), points=points(0)), blobs).tables["probes"]
    assert table["loss"][0] == table["loss"][1]
    assert table["batch_id"][0] == table["batch_id"][1] != ""
    assert table["batch_size"].tolist() == [16, 16]


def test_a_diverged_trial_has_no_probe_rows_after_its_end_and_pays_for_none(make, blobs):
    wild = make.trial(peak_lr=1e30)
    done = make.run(make.pack(wild, make.trial(), probes=(SECANT, SHARPNESS), points=points(0, 5, 20)), blobs)
    table, result = done.tables["probes"], done.results[0]
    mine = table["trial_id"] == wild.trial_id
    assert (table["step"][mine] < result.outcome_step).all()
    assert result.hvps == table["num_hvps"][mine].sum()


def test_sharpness_of_a_quadratic_is_its_largest_eigenvalue_all_along(make):
    workload = Analytic(
        task="analytic",
        function=Quadratic(kind="quadratic", eigenvalues=(5.0, 4.9, 1.0, -7.0)),
        start=Start(point=(1.0, 1.0, 1.0, 0.01)),
        budget=AnalyticBudget(steps=4),
    )
    spec = make.trial(workload, SGD(kind="sgd"), 0.01)
    probe = Sharpness(kind="sharpness", every_steps=1, relative_tolerance=1e-6, max_hvps=24)
    plan = {"sharpness": ProbePoints(steps=(0, 1, 2, 3, 4), hvps_allowed=100)}
    table = make.run(make.pack(spec, probes=(probe,), points=plan), None).tables["probes"]
    assert table["step"].tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(table["value"], 5.0, rtol=1e-6)


def test_timings_name_every_phase_of_every_trial(make, blobs):
    done = make.run(make.pack(make.trial(), probes=(SECANT,), points=points(0)), blobs)
    timings = done.tables["timings"]
    assert set(timings["phase"]) == {"train", "evaluate", "probe:secant_smoothness"}
    assert (timings["seconds"] > 0).all()
    assert all(len(chunk.tables["timings"]["phase"]) == 0 for chunk in done.chunks[:-1])
