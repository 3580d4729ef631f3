"""What a report says of theory: steps to the target beside the bounds of arXiv 2510.03164, what closed loops knew."""

import pytest

from workers.analysis import analyse, figure_svg, write_report
from workers.laws.step_bounds import adaptive_step_bound, fixed_step_order

GAPS = (10.0, 100.0, 1_000.0)
STEPS = {"constant": {10.0: 12, 100.0: 57, 1_000.0: -1}, "alimisis": {10.0: 105, 100.0: 149, 1_000.0: 194}}


@pytest.mark.parametrize(("gap", "steps"), {10: 662, 100: 4_262, 1_000: 40_262, 10_000: 400_262}.items())
def test_the_bound_is_the_one_of_the_theorem(gap, steps):
    assert int(adaptive_step_bound(gap, 1e-6, h0=1.0, h1=1.0, mu=1.0)) == steps


def test_the_bound_has_a_condition():
    assert adaptive_step_bound(10.0, 0.5, h0=1.0, h1=1.0, mu=1.0) is None


def test_the_order_of_a_fixed_rate():
    assert fixed_step_order(2.718281828459045, 1.0, h1=4.0, mu=1.0) == pytest.approx(2.718281828459045 / 2)


@pytest.fixture
def drawn(write_folder, make_row, tmp_path):
    def draw(function: dict, gaps=GAPS) -> tuple:
        rows = []
        for schedule, of_gap in STEPS.items():
            for gap in gaps:
                row = make_row(schedule, 0.1, 0, 1e-6 if of_gap[gap] > 0 else 5.0)
                row |= {"workload": f"cosh start.gap={gap:g}", "workload.start.gap": gap, "start_loss": gap}
                row |= {"trial_id": f"{schedule}/{gap}", "steps_to_target": of_gap[gap], "steps_completed": 10_000}
                rows.append(row | {"final_train_loss": row["final_validation_loss"], "optimizer": "gd"})
        spec = {
            "name": "bounds",
            "workloads": [{"name": "cosh", "task": "analytic", "function": function}],
            "optimizers": [{"name": "gd", "kind": "sgd"}],
            "schedules": [{"name": name, "warmup": {"kind": "none"}} for name in STEPS],
            "analysis": {"baseline": "constant", "metric": "train_loss", "target": 1e-6},
        }
        folder = write_folder(tmp_path / "folder", {"trials": rows})
        report = analyse(folder, spec)
        write_report(report, folder)
        return report.figures["steps_to_target"], folder

    return draw


def test_each_schedule_has_its_fastest_steps_and_the_bounds_stand_beside_them(drawn, tmp_path):
    found, folder = drawn({"kind": "cosh", "k0": 1.0, "k1": 1.0})
    (panel,) = found.panels
    lines = {each.name: dict(zip(each.x, each.y, strict=True)) for each in panel.series}
    assert lines["alimisis"] == {10.0: 105.0, 100.0: 149.0, 1_000.0: 194.0}
    assert lines["constant"] == {10.0: 12.0, 100.0: 57.0}, "where it missed the target it is not drawn"
    bound = lines["bound of rule alimisis"]
    assert (bound[10.0], bound[1_000.0]) == (pytest.approx(662.4, rel=1e-3), pytest.approx(40_262, rel=1e-3))
    assert lines["order of a fixed rate"][1_000.0] == pytest.approx(0.25 * 1e3 / (6.9078 + 1) * 20.723, rel=1e-3)
    assert figure_svg(folder, "steps_to_target", tmp_path / "steps.svg").stat().st_size > 1_000


def test_bounds_are_drawn_where_their_constants_are_known(drawn):
    found, _ = drawn({"kind": "power", "p": 4.0})
    assert [each.name for each in found.panels[0].series] == ["alimisis", "constant"]


def test_one_gap_is_no_curve(drawn):
    found, _ = drawn({"kind": "cosh", "k0": 1.0, "k1": 1.0}, gaps=(10.0,))
    assert not found.panels


def test_the_verdict_says_what_each_closed_loop_knew_and_tried(write_folder, make_row, small_spec, tmp_path):
    knew = {"none": "", "law": "k0, k_rho, rho, f*", "start": "losses of trial updates"}
    rows = [
        make_row(schedule, 0.1, seed, 0.3, trial_id=f"{schedule}/{seed}")
        | {"state": "done", "schedule_knew": told, "forward_passes": 15.0 * (schedule == "start")}
        for schedule, told in knew.items()
        for seed in range(2)
    ]
    spec = small_spec | {"schedules": [{"name": name, "warmup": {"kind": "none"}} for name in knew]}
    words = " ".join(analyse(write_folder(tmp_path / "folder", {"trials": rows}), spec).verdict.split())
    assert "(law: k0, k_rho, rho, f*; start: losses of trial updates, 15 forward passes a trial)" in words
