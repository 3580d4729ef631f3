"""What holds for every warmup and every decay there is: a new kind is covered by its registry line alone."""

from functools import cache
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from schemas.schedule_checks import run_problems, schedule_problems
from schemas.schedules import ClosedLoopWarmup, Decay, Schedule, Warmup
from schemas.warmups import ALMOST
from workers.schedules import decay_factors, factors, warmup_factors
from workers.schedules.progress import Progress
from workers.schedules.registry import ASYMPTOTIC, DECAYS, WARMUPS, WHOLE


def classes(union) -> dict[str, type[BaseModel]]:
    return {get_args(one.model_fields["kind"].annotation)[0]: one for one in get_args(get_args(union)[0])}


WARMUP_CLASSES, DECAY_CLASSES = classes(Warmup), classes(Decay)
for own in ("plugin", "replay"):  # a curve of the user's own, or of another run
    del WARMUP_CLASSES[own]
CLOSED_LOOPS = {kind for kind, one in WARMUP_CLASSES.items() if issubclass(one, ClosedLoopWarmup)}
JUMPS = {"constant_low"}
"""Warmups that are meant to jump."""


@cache
def example(one: type[BaseModel]) -> dict[str, Any]:
    [said] = one.model_json_schema().get("examples") or [{"kind": get_args(one.model_fields["kind"].annotation)[0]}]
    return said


def build(one: type[BaseModel], steps: int) -> Any:
    """The class at its defaults, or as its example has it; of about this length where it has one."""
    said = example(one)
    if "steps" in one.model_fields:
        said = {**said, "steps": steps}
    if "tau_steps" in one.model_fields:
        said = {**said, "tau_steps": float(max(steps, 1))}
    if "beta2" in one.model_fields:
        said = {**said, "beta2": max(0.61, 1.0 - 2.0 / max(steps, 1))}
    return one.model_validate(said)


def made(warmup: str, decay: str, warmup_steps: int) -> Schedule:
    return Schedule(warmup=build(WARMUP_CLASSES[warmup], warmup_steps), decay=build(DECAY_CLASSES[decay], 0))


def test_every_kind_of_the_spec_has_a_curve_and_every_curve_a_kind():
    assert set(WARMUP_CLASSES) - CLOSED_LOOPS == set(WARMUPS) | set(ASYMPTOTIC)
    assert set(DECAY_CLASSES) == set(DECAYS) | set(WHOLE)


lengths = st.integers(1, 200).flatmap(lambda total: st.tuples(st.just(total), st.integers(0, total)))


@pytest.mark.parametrize("kind", sorted(WARMUPS))
@settings(max_examples=30, deadline=None)
@given(warmup_steps=st.integers(1, 500))
def test_a_warmup_rises_to_one_at_its_last_update(kind, warmup_steps):
    warmup = build(WARMUP_CLASSES[kind], warmup_steps)
    length = max(warmup.end_step(warmup_steps), 1)
    found = warmup_factors(warmup, length)
    assert found.shape == (length,)
    assert found[-1] == 1.0
    assert found[0] > 0
    assert np.all(np.diff(found) >= 0)


@pytest.mark.parametrize("kind", sorted(DECAYS))
@settings(max_examples=30, deadline=None)
@given(lengths=lengths)
def test_a_decay_falls_from_one_and_wastes_no_update(kind, lengths):
    total_steps, warmup_steps = lengths
    assume(not run_problems(made("linear", kind, warmup_steps), total_steps, "the run"))
    found = decay_factors(build(DECAY_CLASSES[kind], 0), warmup_steps, total_steps)
    assert found.shape == (total_steps,)
    assert np.all(found[: max(warmup_steps, 1)] == 1.0)
    assert np.all(np.diff(found) <= 0)
    assert found[-1] > 0


@pytest.mark.parametrize("warmup", sorted(WARMUPS))
@pytest.mark.parametrize("decay", sorted(DECAYS))
@settings(max_examples=8, deadline=None)
@given(lengths=lengths)
def test_a_schedule_reaches_its_peak_exactly_once_the_warmup_ends(warmup, decay, lengths):
    total_steps, warmup_steps = lengths
    spec = made(warmup, decay, warmup_steps)
    assume(not run_problems(spec, total_steps, "the run"))
    found = factors(spec, total_steps)
    length = spec.end_step(total_steps)
    assert length == spec.warmup_steps(total_steps)
    assert spec.reaches_peak(total_steps)
    peak = max(length, 1) - 1
    assert found.shape == (total_steps,)
    assert found.dtype == np.float64
    assert found.max() == found[peak] == 1.0
    assert np.all((found > 0) & (found <= 1))
    assert np.all(np.diff(found[: peak + 1]) >= 0)
    assert np.all(np.diff(found[peak:]) <= 0)
    np.testing.assert_array_equal(found, factors(spec.resolve(total_steps), total_steps))


@pytest.mark.parametrize("warmup", sorted(WARMUPS))
@pytest.mark.parametrize("decay", sorted(DECAYS))
def test_the_joint_is_continuous(warmup, decay):
    total_steps, warmup_steps = 20_000, 10_000
    found = factors(made(warmup, decay, warmup_steps), total_steps)
    # one update away from the peak a smooth curve has moved by about its slope over its length
    around = np.abs(np.diff(found[warmup_steps - 5 : warmup_steps + 5])).max()
    assert (around > 1e-3) == (warmup in JUMPS)


@pytest.mark.parametrize("warmup", sorted(WARMUPS))
@pytest.mark.parametrize("decay", sorted(DECAYS))
def test_the_same_factors_come_out_every_time(warmup, decay):
    spec = made(warmup, decay, 5)
    np.testing.assert_array_equal(factors(spec, 17), factors(spec, 17))


@pytest.mark.parametrize("warmup", sorted(ASYMPTOTIC))
@pytest.mark.parametrize("decay", sorted(DECAYS))
@settings(max_examples=8, deadline=None)
@given(lengths=lengths)
def test_an_asymptotic_warmup_multiplies_the_decay_from_the_start_and_may_outlast_the_run(warmup, decay, lengths):
    total_steps, tau = lengths
    spec = made(warmup, decay, 10 * tau)
    found = factors(spec, total_steps)
    curve = factors(made(warmup, "constant", 10 * tau), total_steps)
    assert np.all((curve > 0) & (curve <= 1))
    assert np.all(np.diff(curve) >= 0)
    np.testing.assert_array_equal(found, curve * decay_factors(spec.decay, 0, total_steps))
    assert spec.end_step(total_steps) == 0
    assert not spec.reaches_peak(total_steps)
    counted = spec.warmup_steps(total_steps)
    assert np.all(curve[: counted - 1] < ALMOST)
    assert curve[counted - 1] >= ALMOST or counted == total_steps
    np.testing.assert_array_equal(found, factors(spec.resolve(total_steps), total_steps))


@pytest.mark.parametrize("decay", sorted(WHOLE))
@settings(max_examples=30, deadline=None)
@given(total_steps=st.integers(1, 200))
def test_a_decay_with_a_warmup_of_its_own_rises_to_one_and_falls(decay, total_steps):
    spec = made("none", decay, 0)
    found = factors(spec, total_steps)
    peak = spec.end_step(total_steps) - 1
    assert spec.warmup_steps(total_steps) == peak + 1
    assert spec.reaches_peak(total_steps)
    assert found.shape == (total_steps,)
    assert found.max() == found[peak] == 1.0
    assert np.all((found > 0) & (found <= 1))
    assert np.all(np.diff(found[: peak + 1]) > 0)
    assert np.all(np.diff(found[peak:]) < 0)
    np.testing.assert_array_equal(found, factors(spec.resolve(total_steps), total_steps))


@pytest.mark.parametrize("warmup", sorted(set(WARMUP_CLASSES) - CLOSED_LOOPS - {"none"}))
@pytest.mark.parametrize("decay", sorted(WHOLE))
def test_it_has_no_other_warmup_beside_it(warmup, decay):
    [problem] = schedule_problems(made(warmup, decay, 5), "schedules[0]")
    assert str(problem).startswith(
        f"schedules[0].warmup.kind: got {warmup}, allowed none: decay {decay} rises by itself"
    )
    with pytest.raises(ValueError, match=rf"warmup\.kind: got {warmup}"):
        factors(made(warmup, decay, 5), 50)


@pytest.mark.parametrize("decay", sorted(DECAYS))
@settings(max_examples=8, deadline=None)
@given(lengths=lengths, step=st.integers(0, 199))
def test_a_decay_is_the_same_curve_on_tensors(decay, lengths, step):
    """A closed loop learns its warmup's length on the device, for each trial its own."""
    total_steps, warmup_steps = lengths
    spec = build(DECAY_CLASSES[decay], 0).resolved(total_steps)
    assume(step < total_steps and not run_problems(made("linear", decay, warmup_steps), total_steps, "the run"))
    peaks = torch.tensor([max(warmup_steps, 1), 1], dtype=torch.float64)
    since = (step - peaks + 1).clamp(min=0.0)
    found = DECAYS[decay](spec, Progress(torch, since, total_steps - peaks + 1, peaks, 1))
    expected = [decay_factors(spec, steps, total_steps)[step] for steps in (warmup_steps, 1)]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-14)
