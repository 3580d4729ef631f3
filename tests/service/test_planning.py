"""What `plan` says before anything is trained: what is left, what it costs, what the probe budget leaves out."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.errors import DataMissing
from service.calibrating import calibrate
from service.cli.plan import counted, lines_of
from service.planning import averaging_notes, plan_study, thinning_notes
from service.requests import accept
from tests.cluster.conftest import make_house  # noqa: F401 - a fixture
from tests.e2e.specs import digits
from workers.ledger.ledger import Ledger
from workers.places import Places
from workers.studies import publish_data


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places.resolve(home=str(tmp_path / "home"), tracking_uri="none", environment={})


def said(document: dict[str, Any], places: Places) -> str:
    return "\n".join(lines_of(plan_study(document, places, workers=1)))


def test_in_a_new_home_the_time_is_unknown_and_it_is_said_what_makes_it_known(places: Places) -> None:
    text = said(digits(40), places)
    assert "time        unknown: no pack of this kind has run here yet" in text
    assert str(places.home) in text
    assert "once one has, the time follows from it" in text
    assert not places.home.exists(), "a plan writes nothing"


def test_what_the_budget_leaves_out_is_said_for_each_kind_of_trial(places: Places) -> None:
    document = digits(40)
    document["probes"] = [{"kind": "sharpness", "every_steps": 10, "during_warmup": 2}]
    document["probe_budget"] = 1.5
    counts = "2 of 4 or 2 of 5"
    expected = f"sharpness: measured at {counts} points asked for in a trial, probe_budget 1.5 pays for no more"
    assert f"thinned     {expected}" in said(document, places)
    assert thinning_notes(accept(document, places)) == [expected]
    assert thinning_notes(accept(document | {"probe_budget": 9.0}, places)) == []


def test_an_average_in_the_place_of_a_decay_beside_a_decay_is_said(places) -> None:
    document = digits(40)
    document["optimizers"] = [{"name": "free", "kind": "schedule_free_adamw", "peak_lrs": {"values": [0.01]}}]
    (note,) = averaging_notes(accept(document, places))
    planned = plan_study(document, places, workers=1)
    assert f"note        {note}" in lines_of(planned)
    assert planned.as_json()["notes"] == [note]
    assert note.startswith("optimizer free averages its iterates in the place of a decay (arXiv 2405.15682), and has")
    document["schedules"] = [schedule | {"decay": {"kind": "constant"}} for schedule in document["schedules"]]
    assert averaging_notes(accept(document, places)) == []
    assert plan_study(document, places, workers=1).as_json()["notes"] == []


@pytest.mark.proof
def test_a_pack_size_that_nobody_measured_on_ones_own_model_is_said(tmp_path: Path) -> None:
    file = tmp_path / "my_net.py"
    file.write_text("from torch import nn\nPLUGINS = {'models': {'my_net': lambda width: nn.Linear(64, 10)}}\n")
    home = str(tmp_path / "home")
    places = Places.resolve(home=home, tracking_uri="none", plugins=[str(file)], environment={})
    document = digits(40)
    assert plan_study(document, places, workers=1).notes == []
    document["workloads"][0]["model"] = {"kind": "plugin", "name": "my_net", "options": {"width": 3}}
    [note] = plan_study(document, places, workers=1).notes
    said = (
        "model my_net: 64 trials a pack, the default for 650 parameters, not measured on it; --calibrate measures what"
    )
    assert note.startswith(said)
    document["probes"], document["optimizers"] = [], document["optimizers"][:1]
    request, found = accept(document, places), []
    assert calibrate(request, places, lambda begun, one: found.append(one), budget_s=4.0) == 1
    assert found[-1].times_faster > 1.0
    [note] = plan_study(document, places, workers=1).notes
    assert note.endswith(f"650 parameters, measured here: {found[-1].times_faster:.1f} times as fast a trial as alone")


def test_every_warmup_is_said_in_steps_and_beside_each_optimizer(places: Places) -> None:
    document = digits(400)
    document["optimizers"] = [
        {"kind": "adam", "name": f"b{beta2}", "betas": [0.9, beta2], "peak_lrs": {"values": [0.01]}}
        for beta2 in (0.95, 0.99)
    ]
    kinds = {
        "quarter": ({"kind": "cosine", "fraction": 0.25}, {"kind": "wsd", "cooldown_fraction": 0.2}),
        "untuned": ({"kind": "untuned_linear"}, {"kind": "constant"}),
        "concave": ({"kind": "exponential_concave", "tau_steps": 10.0}, {"kind": "constant"}),
        "radam": ({"kind": "radam", "beta2": 0.999}, {"kind": "constant"}),
        "noam": ({"kind": "none"}, {"kind": "noam", "warmup_steps": 40}),
        "cycle": ({"kind": "none"}, {"kind": "one_cycle"}),
    }
    document["schedules"] = [{"name": name, "warmup": up, "decay": down} for name, (up, down) in kinds.items()]
    document["analysis"] = {"baseline": "quarter"}
    asymptotic = "steps up to 0.99 of the decay, which it multiplies from the start"
    assert plan_study(document, places, workers=1).warmup_steps == {
        "quarter": "100 of 400 steps",
        "untuned": "40 of 400 steps, 200 of 400 steps",
        "concave": f"47 of 400 {asymptotic}",
        "radam": "400 of 400 steps: still below 0.99 of the decay, which it multiplies from the start",
        "noam": "40 of 400 steps",
        "cycle": "120 of 400 steps",
    }


@pytest.mark.parametrize(
    ("budget", "lines"),
    [
        ({"gradients": 1e9}, ["1,000,000,000 gradients (an HVP is two) of NEEDED: enough"]),
        (
            {"gradients": 1},
            ["1 gradients (an HVP is two) of NEEDED: 1 of 2 packs begin; the trials of the others are cancelled"],
        ),
        (
            {"hours": 2},
            ["2 h: how many packs begin until then is not known; the trials of the others are cancelled"],
        ),
    ],
)
def test_a_budget_is_printed_beside_what_the_study_would_need(
    budget: dict[str, float], lines: list[str], places: Places
) -> None:
    planned = plan_study(digits(40) | {"budget": budget}, places, workers=1)
    assert planned.budget is not None
    cost = planned.estimate
    assert planned.budget.gradients_needed == pytest.approx(cost.gradients + 2 * cost.hvps, rel=0.01)
    said = [line.removeprefix("budget      ") for line in lines_of(planned) if line.startswith("budget")]
    assert said == [line.replace("NEEDED", f"{planned.budget.gradients_needed:,.0f}") for line in lines]
    assert planned.as_json()["budget"]["packs_paid"] == {1e9: 2, 1: 1}.get(budget.get("gradients", 0))
    assert planned.study.resolved["budget"] == {"hours": None, "gradients": None} | budget


def test_without_a_budget_a_study_says_nothing_of_one(places: Places) -> None:
    planned = plan_study(digits(40), places, workers=1)
    assert (planned.budget, planned.as_json()["budget"]) == (None, None)
    assert "budget" not in planned.study.resolved


def test_a_set_with_other_bytes_than_its_own_is_refused_and_so_is_a_missing_one_beside_it(places: Places) -> None:
    rng = np.random.default_rng(0)
    folder = places.data / "fashion_mnist"
    folder.mkdir(parents=True)
    for part in ("train", "test"):
        images = rng.integers(0, 256, (60, 28, 28), dtype=np.uint8)
        np.savez(folder / f"{part}.npz", images=images, labels=np.arange(60, dtype=np.uint8) % 10)
    document = digits(40)
    [workload] = document["workloads"]
    document["workloads"] = [
        workload | {"name": kind, "dataset": {"kind": kind}} for kind in ("fashion_mnist", "cifar10", "digits")
    ]
    with pytest.raises(DataMissing) as refused:
        accept(document, places)
    wrong, missing = str(refused.value).splitlines()
    assert re.match(r"fashion_mnist: .*train.npz and test.npz: other bytes than the known ones; .*--replace", wrong)
    with Ledger.open(places.home) as ledger:
        publish_data(ledger, places.data)
        assert {row.kind for row in ledger.datasets()} == {"digits", "pydoc"}, "a server knows of it no more"
    assert re.match(r"cifar10: there is no .*train.npz; `warmup-bench data fetch cifar10` gets it", missing)


def test_one_of_a_thing_is_not_called_several() -> None:
    assert [counted(count, "pack") for count in (0, 1, 2_000)] == ["0 packs", "1 pack", "2,000 packs"]


@pytest.mark.slow
def test_a_study_that_is_done_leaves_nothing_and_one_with_another_seed_the_rest(make_house: Any) -> None:  # noqa: F811
    house = make_house()
    house.finish()
    same, more = (plan_study(digits(40, num_seeds=count), house.places, workers=1) for count in (1, 2))
    assert (same.trials, same.done, same.estimate.packs, same.estimate.hvps) == (8, 8, 0, 0)
    assert "time        none: nothing is left to train" in lines_of(same)
    assert (more.trials, more.done, more.estimate.trials) == (16, 8, 8)
    assert more.estimate.steps == 8 * 40
    assert "8 of them done in this home; left: 8 in 2 packs (320 steps)" in "\n".join(lines_of(more))
    assert more.as_json()["trials_done"] == 8


@pytest.mark.slow
def test_other_probes_are_measured_anew_and_cost_more_time(make_house: Any) -> None:  # noqa: F811
    house = make_house()
    house.finish()
    light, heavy = (digits(40) | {"name": "other"} for _ in range(2))
    light["probes"] = []
    heavy["probes"] = [{"kind": "sharpness", "every_steps": 1}]
    heavy["probe_budget"] = 30.0
    seconds = [plan_study(document, house.places, workers=1).estimate.seconds for document in (light, heavy)]
    assert seconds[0] is not None
    assert seconds[1] is not None
    assert seconds[1][0] > 2 * seconds[0][1]
