"""What a plan says it will cost."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.planning import PackPlan, PastPack, estimate, measurement_plans, plan_packs, time_interval
from workers.planning.estimate import gradients_of_packs


def packs(count, steps=100, group="g"):
    return [PackPlan(f"p{index}", group, 8, 100, 1000, steps, (f"t{index}",)) for index in range(count)]


def past(*seconds, load=None):
    return [PastPack(each, load) for each in seconds]


def test_time_is_unknown_where_no_pack_of_a_group_has_run():
    assert time_interval(packs(2), 2, {}) is None
    assert time_interval([*packs(1), *packs(1, group="other")], 2, {"g": past(0.1)}) is None
    assert time_interval([], 2, {}) is None


@settings(max_examples=60, deadline=None)
@given(seen=st.lists(st.floats(1e-4, 10), min_size=1, max_size=30), count=st.integers(1, 20), workers=st.integers(1, 8))
def test_the_interval_holds_the_time_at_the_median_of_the_past(seen, count, workers):
    low, high = time_interval(packs(count), workers, {"g": past(*seen)})
    rounds = -(-count // workers)
    middle = sorted(seen)[len(seen) // 2] * 100 * rounds
    assert 0 < low <= middle * (1 + 1e-12)
    assert middle <= high * (1 + 1e-12)
    assert low >= min(seen) * 0.8 * 100 * rounds * (1 - 1e-12)
    assert high <= max(seen) * 1.25 * 100 * rounds * (1 + 1e-12)


def test_packs_are_shared_out_longest_first():
    mixed = [*packs(1, steps=300), *packs(3, steps=100)]
    low, high = time_interval(mixed, 2, {"g": past(*[1.0] * 10)})
    assert (low, high) == (pytest.approx(300), pytest.approx(300))


def test_a_past_without_probes_makes_a_plan_with_probes_slower_by_a_range():
    plain = {"g": past(*[1.0] * 10, load=1.0)}
    assert time_interval(packs(1), 1, plain, {"p0": 1.0}) == (pytest.approx(100), pytest.approx(100))
    # half a gradient equivalent a step, of which a second buys one to four times less
    assert time_interval(packs(1), 1, plain, {"p0": 1.5}) == (pytest.approx(150), pytest.approx(300))


def test_a_past_that_measured_as_much_is_taken_as_it_is():
    mixed = {"g": past(*[1.0] * 5, load=1.0) + past(*[2.0] * 5, load=1.31)}
    assert time_interval(packs(1), 1, mixed, {"p0": 1.3}) == (pytest.approx(200), pytest.approx(200))


def test_totals_are_those_of_the_trials(expand, small, datasets):
    probes = [
        {"kind": "sharpness", "every_steps": 100, "max_hvps": 5},
        {"kind": "secant_smoothness", "every_steps": 200},
    ]
    study, trials = expand(small(seeds={"count": 3}, probes=probes, workload={"evaluation": {"every_steps": 150}}))
    planned = plan_packs(trials, datasets, device_class="cpu")
    plans = measurement_plans(trials, study.fields, datasets)
    cost = estimate(trials, planned, plans, study.fields, datasets, workers=2)
    assert (cost.trials, cost.packs, cost.steps) == (3, 1, 1200)
    assert cost.hvps == 3 * 4 * 5
    assert cost.gradients == 3 * (400 + 4 + 2 * 2)
    # evaluations at 0, 150, 300, 400; six probe points
    assert cost.record_rows == 3 * (400 + 4 + 6)
    assert cost.record_bytes == 3 * (400 * 34 + 4 * 24 + 6 * 60)
    assert cost.seconds is None


def test_a_rate_in_units_of_the_starts_sharpness_is_paid_for(small, expand, datasets):
    plain = {"values": [0.1, 1.0]}
    costs = []
    for rates in (plain, {**plain, "relative_to": {"quantity": "sharpness"}}):
        study, trials = expand(small(peak_lrs=rates))
        planned = plan_packs(trials, datasets, device_class="cpu")
        plans = measurement_plans(trials, study.fields, datasets)
        cost = estimate(trials, planned, plans, study.fields, datasets, workers=2)
        costs.append((cost.gradients, cost.hvps, sum(gradients_of_packs(trials, planned, plans))))
    (gradients, hvps, packed), (more_gradients, more_hvps, more_packed) = costs
    assert more_gradients - gradients == 2 * 10  # two trials, ten batches each
    assert more_hvps - hvps == 2 * 10 * 16
    assert more_packed - packed == 2 * (10 + 2 * 160)
