"""An optimum stated above the loss at the start leaves no gap: refused where that loss follows from the spec."""

import pytest

from schemas.errors import SpecError
from schemas.study import parse_study

LAW = {"kind": "smoothness_law", "rule": "descent", "k0": 1.0, "k_rho": 1.0}


def document(optimum, workloads, **fields):
    warmup = LAW | {"optimum": {"kind": "given", "value": optimum}}
    return {
        "schema_version": 1,
        "name": "optima",
        "workloads": workloads,
        "optimizers": [{"kind": "sgd", "peak_lrs": {"values": [0.1]}}],
        "schedules": [
            {"name": "none", "warmup": {"kind": "none"}, "decay": {"kind": "constant"}},
            {"name": "law", "warmup": warmup, "decay": {"kind": "constant"}},
        ],
        "seeds": {"count": 1},
        "analysis": {"baseline": "none", "metric": "train_loss"},
        **fields,
    }


def function(kind="cosh", start=None, **fields):
    start = start or {"gap": 10.0}
    return {
        "name": kind,
        "task": "analytic",
        "function": {"kind": kind, **fields},
        "start": start,
        "budget": {"steps": 5},
    }


VALLEY = function("river_valley", {"per_block": {"wall_gap": 2.0, "river": 4.0}}, eigenvalues=[0.5, 0.25])
STARTS = {
    "a gap": (function(), 10.0),
    "a gap above an infimum of its own": (function("flat_then_exponential"), 10.5),
    "a river valley": (VALLEY, 8.0),
}


def said(spec):
    with pytest.raises(SpecError) as refused:
        parse_study(spec)
    return [str(problem) for problem in refused.value.problems]


@pytest.mark.parametrize(("workload", "loss"), STARTS.values(), ids=STARTS)
def test_an_optimum_above_the_start_of_a_function_is_refused_and_one_at_it_is_not(workload, loss):
    parse_study(document(loss, [workload]))
    (line,) = said(document(loss + 0.01, [workload]))
    field = "schedules[1].warmup.optimum.value"
    assert (
        line
        == f"{field}: got {loss + 0.01}, allowed at most {loss:g}, the loss where workload {workload['name']} starts"
    )


def test_every_start_that_it_lies_above_is_named_and_those_that_it_does_not_meet_are_not():
    starts = [function(start={"gap": {"sweep": [1.0, 100.0, 3.0]}})]
    assert [line.partition("workload ")[2] for line in said(document(5.0, starts))] == [
        "cosh start.gap=1 starts",
        "cosh start.gap=3 starts",
    ]
    linked = document(5.0, [function(), {**function(), "name": "low", "start": {"gap": 1.0}}])
    assert said(linked | {"link": [["workloads", "schedules"]]}) == [
        "schedules[1].warmup.optimum.value: got 5.0, allowed at most 1, the loss where workload low starts"
    ]
    linked["schedules"].reverse()
    parse_study(linked | {"link": [["workloads", "schedules"]]})


def test_the_optimum_of_the_analysis_too():
    given = {"baseline": "none", "metric": "train_loss", "optimum": {"kind": "given", "value": 12.0}}
    assert said(document(0.0, [function()], analysis=given)) == [
        "analysis.optimum.value: got 12.0, allowed at most 10, the loss where workload cosh starts"
    ]


def test_a_start_whose_loss_is_not_known_before_it_runs_is_left_to_the_run():
    net = {"name": "net", "task": "analytic", "function": {"kind": "two_layer_linear"}, "budget": {"steps": 5}}
    parse_study(document(1e6, [net]))
    parse_study(document(1e6, [function(start={"point": [1.0]})]))
