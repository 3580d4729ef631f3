"""Every schedule drives the training loop at its own rates, resumed or not, and every decay follows a closed loop."""

import pickle
from typing import Any

import numpy as np
import pytest

from schemas.functions import Quadratic
from schemas.optimizers import SGD, Adam
from schemas.schedules import Schedule, SmoothnessLawWarmup
from schemas.workloads import Analytic, AnalyticBudget, Start
from tests.schedules.test_every_schedule import DECAY_CLASSES, build
from workers.schedules import decay_factors, factors
from workers.schedules.registry import ASYMPTOTIC, DECAYS, WARMUPS, WHOLE
from workers.science.trainer import PackTrainer

STEPS, PEAK = 40, 0.3


def quadratic() -> Analytic:
    function = Quadratic(kind="quadratic", eigenvalues=(0.5, 1.0))
    return Analytic(
        task="analytic", function=function, start=Start(point=(1.0, 1.0)), budget=AnalyticBudget(steps=STEPS)
    )


def schedules() -> list[Schedule]:
    """One of every warmup, every decay, and every other convention."""
    lengths = {"steps": 16}
    warmups: list[dict[str, Any]] = [
        {"kind": kind, **lengths} for kind in WARMUPS if kind not in ("none", "untuned_linear")
    ]
    warmups += [{"kind": "untuned_linear", "beta2": 0.9}, {"kind": "exponential_concave", "tau_steps": 9.0}]
    warmups += [{"kind": kind, "beta2": 0.9} for kind in ASYMPTOTIC if kind != "exponential_concave"]
    documents = [{"warmup": warmup, "decay": {"kind": "cosine"}} for warmup in warmups]
    for kind in DECAYS | WHOLE:
        decay = build(DECAY_CLASSES[kind], 0).model_dump()
        warmup = {"kind": "none"} if kind in WHOLE else {"kind": "linear", **lengths}
        documents.append({"warmup": warmup, "decay": decay})
    for convention in ("hf", "timm", "optax", "fairseq"):
        documents.append(
            {"warmup": {"kind": "linear", "steps": 17}, "decay": {"kind": "cosine"}, "convention": convention}
        )
    return [Schedule.model_validate(document).resolve(STEPS) for document in documents]


def test_the_loop_applies_every_schedule_and_a_resume_in_mid_warmup_changes_no_bit(make):
    found = schedules()
    assert {each.warmup.kind for each in found} == set(WARMUPS) | set(ASYMPTOTIC)
    assert {each.decay.kind for each in found} == set(DECAYS) | set(WHOLE)
    workload = quadratic()
    trials = [make.trial(workload, SGD(kind="sgd"), PEAK + i / 1000, schedule=each) for i, each in enumerate(found)]
    task = make.pack(*trials)
    whole = make.run(task, None)
    for trial in trials:
        applied = make.of_trial(whole.tables["steps"], trial.trial_id, "lr")[:STEPS]
        np.testing.assert_array_equal(
            applied, trial.peak_lr * factors(trial.schedule, STEPS), err_msg=str(trial.schedule)
        )

    first = PackTrainer(task, None)
    chunks = [first.run_chunk(7)]
    second = PackTrainer(task, None)
    second.load_state_dict(pickle.loads(pickle.dumps(first.state_dict())))
    while not second.done:
        chunks.append(second.run_chunk(11))
    resumed = make.joined(chunks)["steps"]
    for name in ("lr", "train_loss", "update_norm"):
        assert resumed[name].tobytes() == whole.tables["steps"][name].tobytes(), name


def test_results_say_how_many_updates_counted_as_warmup(make):
    def steps_of(warmup, decay):
        schedule = Schedule.model_validate({"warmup": warmup, "decay": decay}).resolve(STEPS)
        return make.run(make.pack(make.trial(quadratic(), Adam(kind="adam"), 0.01, schedule=schedule)), None).results[0]

    constant = {"kind": "constant"}
    assert steps_of({"kind": "cosine", "fraction": 0.25}, constant).warmup_steps == 10
    assert steps_of({"kind": "untuned_linear", "beta2": 0.9}, constant).warmup_steps == 20
    assert steps_of({"kind": "exponential_concave", "tau_steps": 4.0}, constant).warmup_steps == 19  # 4 log(100) = 18.4
    assert steps_of({"kind": "radam", "beta2": 0.999}, constant).warmup_steps == STEPS
    assert steps_of({"kind": "none"}, {"kind": "noam", "warmup_steps": 12}).warmup_steps == 12
    assert steps_of({"kind": "none"}, {"kind": "one_cycle"}).warmup_steps == 12


@pytest.mark.parametrize("kind", sorted(DECAYS))
def test_behind_a_closed_loop_the_decay_is_that_of_an_open_one_of_the_same_length(make, kind):
    law = {
        "kind": "smoothness_law",
        "rule": "descent",
        "k0": 1.0,
        "k_rho": 9.0,
        "optimum": {"kind": "zero"},
        "max_steps": 30,
    }
    decay = build(DECAY_CLASSES[kind], 0)
    trials = [
        make.trial(
            quadratic(),
            SGD(kind="sgd"),
            peak,
            schedule=Schedule(warmup=SmoothnessLawWarmup.model_validate(law), decay=decay),
        )
        for peak in (0.3, 0.9)
    ]
    done = make.run(make.pack(*trials), None)
    lengths = [result.warmup_steps for result in done.results]
    assert 1 < lengths[0] < lengths[1] < 30, "each trial finds its own"
    for trial, length in zip(trials, lengths, strict=True):
        applied = make.of_trial(done.tables["steps"], trial.trial_id, "lr")[length - 1 : STEPS]
        expected = trial.peak_lr * decay_factors(decay, length, STEPS)[length - 1 :]
        np.testing.assert_allclose(applied, expected, rtol=1e-13)
    assert (kind == "constant") == (applied[-1] == trials[1].peak_lr)
