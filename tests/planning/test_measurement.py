"""Probe points: where they were asked for, within the budget, alike for all that is compared."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.presets import preset_text
from service.spec_files import parse_document
from workers.planning import measurement_plans
from workers.planning.measurement import FIRST_POINT_EXTRA_HVPS, NOMINAL_HVPS, measurement_key


def plans_of(study, trials, datasets):
    return measurement_plans(trials, study.fields, datasets)


def planned(expand, datasets, document):
    study, trials = expand(document)
    return plans_of(study, trials, datasets)[measurement_key(trials[0])]


def warmups(*lengths):
    return [
        {"name": f"w{steps}", "warmup": {"kind": "linear", "steps": steps}, "decay": {"kind": "constant"}}
        for steps in lengths
    ]


def sharpness(**fields):
    return {"kind": "sharpness", "every_steps": 100, **fields}


def secant(**fields):
    return {"kind": "secant_smoothness", "every_steps": 100, **fields}


def test_points_are_taken_regularly_and_during_the_warmup(expand, small, datasets):
    document = small(schedules=warmups(80), probes=[sharpness(during_warmup=4)], probe_budget=10.0)
    assert planned(expand, datasets, document).points["sharpness"].steps == (0, 20, 40, 60, 100, 200, 300)


def test_an_asymptotic_warmup_has_its_points_until_it_is_almost_over(expand, small, datasets):
    def points(**tau):
        warmup = {"kind": "exponential_concave", **tau}
        schedules = [{"warmup": warmup, "decay": {"kind": "constant"}}]
        document = small(schedules=schedules, probes=[secant(during_warmup=4)], probe_budget=10.0)
        return planned(expand, datasets, document).points["secant_smoothness"].steps

    assert points(tau_steps=10.0) == (0, 11, 23, 35, 100, 200, 300)  # 47 = 10 log(100), rounded up
    assert points(tau_fraction=0.5) == (0, 100, 200, 300), "it outlasts the run of 400: 4 points over all of it"
    assert points(tau_steps=80.0) == (0, 92, 100, 184, 200, 276, 300)


def test_the_length_of_an_untuned_warmup_is_that_of_the_optimizer_beside_it(expand, small, datasets):
    optimizers = [{"kind": "adam", "name": f"b{beta2}", "betas": [0.9, beta2]} for beta2 in (0.95, 0.99)]
    schedules = [{"warmup": {"kind": "untuned_linear"}, "decay": {"kind": "constant"}}]
    document = small(optimizers=optimizers, schedules=schedules, probes=[secant(during_warmup=2)], probe_budget=10.0)
    study, trials = expand(document)
    plans = plans_of(study, trials, datasets)
    found = [plans[measurement_key(trial)].points["secant_smoothness"].steps for trial in trials]
    assert found == [(0, 20, 100, 200, 300), (0, 100, 200, 300)]
    assert [trial.schedule.warmup.beta2 for trial in trials] == [0.95, 0.99]


def test_a_run_without_warmup_has_the_regular_points_alone(expand, small, datasets):
    document = small(probes=[sharpness(during_warmup=4)], probe_budget=10.0)
    assert planned(expand, datasets, document).points["sharpness"].steps == (0, 100, 200, 300)


def test_a_short_warmup_gives_no_point_twice(expand, small, datasets):
    document = small(schedules=warmups(2), probes=[secant(during_warmup=4)], probe_budget=10.0)
    assert planned(expand, datasets, document).points["secant_smoothness"].steps == (0, 1, 100, 200, 300)


def test_with_room_for_all_an_eigenvalue_may_take_its_most_hvps(expand, small, datasets):
    plan = planned(expand, datasets, small(probes=[sharpness(max_hvps=7)], probe_budget=10.0))
    assert plan.points["sharpness"].hvps_allowed == 4 * 7
    # four points: a gradient each, and two for each HVP
    assert plan.gradients == 4 + 2 * 28
    assert plan.thinned == {}


def test_what_does_not_fit_is_thinned_and_said(expand, small, datasets):
    # 400 points at 2 gradients each, where 40 gradients are allowed: every 20th point
    plan = planned(expand, datasets, small(probes=[secant(every_steps=1)], probe_budget=0.1))
    assert plan.points["secant_smoothness"].steps == tuple(range(0, 400, 20))
    assert plan.thinned == {"secant_smoothness": (20, 400)}
    assert plan.gradients == 40


def test_eigenvalue_points_are_thinned_until_each_can_converge(expand, small, datasets):
    # 120 gradients, 40 of them for the secant points; a point takes 1 + 2 x 8, the first one 8 more
    document = small(schedules=warmups(80), probes=[sharpness(during_warmup=4), secant(every_steps=20)])
    plan = planned(expand, datasets, document)
    assert plan.points["sharpness"].steps == (0, 40, 200)
    assert plan.points["sharpness"].hvps_allowed >= 3 * NOMINAL_HVPS + FIRST_POINT_EXTRA_HVPS
    assert len(plan.points["secant_smoothness"].steps) == 20
    assert plan.thinned == {"sharpness": (3, 7)}


def test_all_schedules_keep_the_same_regular_steps(expand, small, datasets):
    study, trials = expand(small(schedules=warmups(0, 80, 200), probes=[sharpness(during_warmup=4)], probe_budget=0.2))
    plans = plans_of(study, trials, datasets).values()
    steps = [plan.points["sharpness"].steps for plan in plans]
    assert steps == [(0, 200), (0, 40, 200), (0, 100, 200)]
    assert [plan.thinned["sharpness"] for plan in plans] == [(2, 4), (3, 7), (3, 6)]


def test_secant_points_are_thinned_where_two_eigenvalue_points_leave_no_room(expand, small, datasets):
    # 120 gradients, 42 of them for two eigenvalue points: 78 for 39 secant points of 400
    plan = planned(expand, datasets, small(probes=[sharpness(), secant(every_steps=1)]))
    assert plan.points["sharpness"].steps == (0, 300)
    assert len(plan.points["secant_smoothness"].steps) == 37  # every 11th


def test_with_very_little_the_eigenvalue_keeps_one_point_then_none(expand, small, datasets):
    probes = [sharpness(), secant()]
    one = planned(expand, datasets, small(probes=probes, probe_budget=30 / 400))
    assert (one.points["sharpness"].steps, len(one.points["secant_smoothness"].steps)) == ((0,), 2)
    none = planned(expand, datasets, small(probes=probes, probe_budget=8 / 400))
    assert (none.points["sharpness"].steps, len(none.points["secant_smoothness"].steps)) == ((), 4)


def test_a_probe_of_few_hvps_leaves_the_nominal_ones_to_another(expand, small, datasets):
    probes = [sharpness(name="a", max_hvps=4), sharpness(name="b")]
    # four points each: 4 x (1 + 2 x 4) and 4 x (1 + 2 x 8) + 8, nothing left over
    plan = planned(expand, datasets, small(probes=probes, probe_budget=112 / 400))
    assert [plan.points[name].hvps_allowed for name in "ab"] == [16, 36]
    assert plan.gradients == 112


def test_every_point_of_the_quickstart_can_converge_and_none_is_thinned(expand, datasets):
    study, trials = expand(parse_document(preset_text("quickstart")))
    for plan in plans_of(study, trials, datasets).values():
        points = plan.points["sharpness"]
        assert plan.thinned == {}
        assert points.hvps_allowed >= len(points.steps) * NOMINAL_HVPS + FIRST_POINT_EXTRA_HVPS


def test_a_budget_of_nothing_measures_nothing(expand, small, datasets):
    plan = planned(expand, datasets, small(probes=[sharpness(), secant()], probe_budget=0.0))
    assert {name: points.steps for name, points in plan.points.items()} == {"sharpness": (), "secant_smoothness": ()}
    assert plan.thinned == {"sharpness": (0, 4), "secant_smoothness": (0, 4)}
    assert plan.gradients == 0


def test_a_larger_probe_batch_costs_more(expand, small, datasets):
    one = planned(expand, datasets, small(probes=[secant()], probe_budget=10.0))
    four = planned(expand, datasets, small(probes=[secant(batch={"size": 128, "count": 2})], probe_budget=10.0))
    assert (one.gradients, four.gradients) == (8, 32)


def test_an_analytic_function_has_no_batches_to_pay_for(expand, small, datasets):
    wall = {
        "name": "wall",
        "task": "analytic",
        "function": {"kind": "cosh"},
        "start": {"gap": 9},
        "budget": {"steps": 400},
    }
    plan = planned(expand, datasets, small(workloads=[wall], probes=[secant(batch={"size": 128, "count": 2})]))
    assert plan.gradients == 8


def test_what_is_measured_does_not_depend_on_the_trials_beside_it(expand, small, datasets):
    probes = [sharpness(every_steps=50, during_warmup=8), secant(every_steps=3)]
    alone_study, alone = expand(small(schedules=warmups(0), probes=probes))
    beside_study, beside = expand(small(schedules=warmups(0, 80, 400), probes=probes))
    plan = plans_of(alone_study, alone, datasets)[measurement_key(alone[0])]
    assert plan == plans_of(beside_study, beside, datasets)[measurement_key(beside[0])]
    assert beside[0].trial_id == alone[0].trial_id


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    budget=st.floats(0, 3),
    steps=st.integers(1, 500),
    every=st.tuples(st.integers(1, 500), st.integers(1, 500)),
    during=st.tuples(st.integers(0, 20), st.integers(0, 20)),
    max_hvps=st.integers(4, 40),
    batch=st.tuples(st.sampled_from([None, 16, 64, 500]), st.integers(1, 3)),
    lengths=st.lists(st.integers(0, 500), min_size=1, max_size=3, unique=True),
)
def test_the_budget_is_never_exceeded_and_all_schedules_have_equal_effort(
    expand, small, datasets, budget, steps, every, during, max_hvps, batch, lengths
):
    probes = [
        sharpness(
            every_steps=every[0],
            during_warmup=during[0],
            max_hvps=max_hvps,
            batch={"size": batch[0], "count": batch[1]},
        ),
        secant(every_steps=every[1], during_warmup=during[1]),
    ]
    lengths = sorted({min(length, steps) for length in lengths} - {1}) or [0]
    document = small(
        workload={"budget": {"steps": steps}}, schedules=warmups(*lengths), probes=probes, probe_budget=budget
    )
    study, trials = expand(document)
    plans = plans_of(study, trials, datasets)
    share = (batch[0] or 64) / 64
    slack = []
    for plan in plans.values():
        eigen, of_secant = plan.points["sharpness"], plan.points["secant_smoothness"]
        spent = len(of_secant.steps) * 2 + share * (len(eigen.steps) * batch[1] + 2 * eigen.hvps_allowed)
        assert abs(spent - plan.gradients) < 1e-6
        assert spent <= budget * steps * (1 + 1e-9)
        count, nominal = len(eigen.steps), min(NOMINAL_HVPS, max_hvps)
        extra = min(FIRST_POINT_EXTRA_HVPS, max_hvps - nominal) if count else 0
        assert (nominal * count + extra) * batch[1] <= eigen.hvps_allowed <= max_hvps * count * batch[1]
        if count and eigen.hvps_allowed < max_hvps * count * batch[1]:
            slack.append(((eigen.hvps_allowed / batch[1] - extra) / count - nominal, 1 / (count * batch[1])))
        for points in plan.points.values():
            assert list(points.steps) == sorted(set(points.steps))
            assert all(0 <= step < steps for step in points.steps)
    for one, rounding in slack:
        for other, roundings in slack:
            assert abs(one - other) <= rounding + roundings + 1e-6, "the same HVPs per point for all schedules"


def test_every_kind_is_planned_at_what_it_costs(expand, small, datasets):
    costs = {
        "directional_sharpness": (1 + 2, 1),
        "secant_smoothness": (6, 0),
        "secant_noise": (2 * 2, 0),
        "gradient_noise": (8, 0),
    }
    for kind, (gradients, hvps) in costs.items():
        probe = {"kind": kind, "every_steps": 100} | ({"points": "grid"} if kind == "secant_smoothness" else {})
        plan = planned(expand, datasets, small(probes=[probe], probe_budget=10.0))
        assert plan.gradients == 4 * gradients, kind
        assert plan.points[kind].hvps_allowed == 4 * hvps, kind
        assert plan.gradients_of_hvps == 8 * hvps, kind


def test_eigenvalues_of_every_kind_are_planned_alike(expand, small, datasets):
    kinds = ("sharpness", "hessian_norm", "most_negative_eigenvalue", "preconditioned_sharpness", "gauss_newton")
    probes = [{"kind": kind, "every_steps": 100} for kind in kinds]
    plan = planned(expand, datasets, small(probes=probes, probe_budget=0.5))
    assert len({(points.steps, points.hvps_allowed) for points in plan.points.values()}) == 1
