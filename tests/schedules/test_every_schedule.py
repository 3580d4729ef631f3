"""What holds for every warmup and every decay there is: a new kind is covered by its registry line alone."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from schemas.schedules import Decay, Schedule, SmoothnessLawWarmup, Warmup
from workers.schedules import decay_factors, factors, warmup_factors
from workers.schedules.registry import DECAYS, WARMUPS


def classes(union) -> dict[str, type[BaseModel]]:
    return {get_args(one.model_fields["kind"].annotation)[0]: one for one in get_args(get_args(union)[0])}


WARMUP_CLASSES, DECAY_CLASSES = classes(Warmup), classes(Decay)
CLOSED_LOOPS = {kind for kind, one in WARMUP_CLASSES.items() if one is SmoothnessLawWarmup}


def build(one: type[BaseModel], steps: int) -> BaseModel:
    """The class at its defaults, its length where it has one."""
    said = {"steps": steps} if "steps" in one.model_fields else {}
    return one.model_validate({"kind": get_args(one.model_fields["kind"].annotation)[0], **said})


def test_every_kind_of_the_spec_has_a_curve_and_every_curve_a_kind():
    assert set(WARMUP_CLASSES) - CLOSED_LOOPS == set(WARMUPS)
    assert set(DECAY_CLASSES) == set(DECAYS)


lengths = st.integers(1, 200).flatmap(lambda total: st.tuples(st.just(total), st.integers(0, total)))


@pytest.mark.parametrize("kind", sorted(WARMUPS))
@settings(max_examples=30, deadline=None)
@given(warmup_steps=st.integers(1, 500))
def test_a_warmup_rises_to_one_at_its_last_update(kind, warmup_steps):
    found = warmup_factors(build(WARMUP_CLASSES[kind], warmup_steps), warmup_steps)
    assert found.shape == (warmup_steps,)
    assert found[-1] == 1.0
    assert found[0] > 0
    assert np.all(np.diff(found) >= 0)


@pytest.mark.parametrize("kind", sorted(DECAYS))
@settings(max_examples=30, deadline=None)
@given(lengths=lengths)
def test_a_decay_falls_from_one_and_wastes_no_update(kind, lengths):
    total_steps, warmup_steps = lengths
    found = decay_factors(build(DECAY_CLASSES[kind], 0), warmup_steps, total_steps)
    assert found.shape == (total_steps,)
    assert np.all(found[: max(warmup_steps, 1)] == 1.0)
    assert np.all(np.diff(found) <= 0)
    assert found[-1] > 0


@pytest.mark.parametrize("warmup", sorted(WARMUPS))
@pytest.mark.parametrize("decay", sorted(DECAYS))
@settings(max_examples=15, deadline=None)
@given(lengths=lengths)
def test_a_schedule_reaches_its_peak_exactly_once_the_warmup_ends(warmup, decay, lengths):
    total_steps, warmup_steps = lengths
    spec = Schedule(warmup=build(WARMUP_CLASSES[warmup], warmup_steps), decay=build(DECAY_CLASSES[decay], 0))
    found = factors(spec, total_steps)
    length = spec.warmup_steps(total_steps)
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
    spec = Schedule(warmup=build(WARMUP_CLASSES[warmup], warmup_steps), decay=build(DECAY_CLASSES[decay], 0))
    found = factors(spec, total_steps)
    # one update away from the peak a smooth curve has moved by about its slope over its length
    assert np.abs(np.diff(found)).max() < 1e-3


@pytest.mark.parametrize("warmup", sorted(WARMUPS))
@pytest.mark.parametrize("decay", sorted(DECAYS))
def test_the_same_factors_come_out_every_time(warmup, decay):
    spec = Schedule(warmup=build(WARMUP_CLASSES[warmup], 5), decay=build(DECAY_CLASSES[decay], 0))
    np.testing.assert_array_equal(factors(spec, 17), factors(spec, 17))
