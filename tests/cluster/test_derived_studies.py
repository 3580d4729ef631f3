"""The loop closed on a function whose answer is known: pilot, law, follow-up, and whether the law had foretold it."""

import json
from collections import Counter

import pytest

from schemas.errors import SpecError
from schemas.study import parse_study
from service.cli.main import main
from service.spec_files import parse_document
from workers.results.deriving import derive_study
from workers.results.write import as_yaml, write_results

PILOT = {
    "schema_version": 1,
    "name": "wall",
    "workloads": [
        {
            "name": "cosh",
            "task": "analytic",
            "function": {"kind": "cosh"},
            "start": {"gap": 100.0},
            "budget": {"steps": 40},
        }
    ],
    "optimizers": [{"name": "gd", "kind": "sgd"}],
    "peak_lrs": {"values": [0.003, 0.01, 0.03, 0.1, 0.3, 1.0]},
    "schedules": [
        {"name": "none", "warmup": {"kind": "none"}, "decay": {"kind": "constant"}},
        {"name": "linear", "warmup": {"kind": "linear", "steps": 20}, "decay": {"kind": "constant"}},
    ],
    "seeds": {"count": 1},
    "probes": [{"kind": "sharpness", "every_steps": 3}],
    "probe_budget": 100.0,
    "analysis": {"baseline": "none", "metric": "train_loss", "equivalence_margin": 1e-6},
}


def refused(house, folder, **how):
    with pytest.raises(SpecError) as error:
        derive_study(house.ledger, "wall", house.places, folder, **how)
    return {problem.field: problem for problem in error.value.problems}


@pytest.fixture
def command(monkeypatch):
    """The exit status of a command, in this process."""

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["warmup-bench", *map(str, arguments)])
        try:
            main()
        except SystemExit as ended:
            return int(ended.code or 0)
        return 0

    return run


@pytest.fixture
def pilot(make_house):
    house = make_house(document=PILOT)
    house.finish()
    return house


@pytest.mark.proof
def test_a_pilot_s_law_is_tested_by_its_follow_up(pilot, tmp_path, command):
    report = write_results(pilot.ledger, pilot.study.id, pilot.places, tmp_path / "pilot")
    law = report.laws["cosh, gd"][0]
    assert str(law.fit.answer) == "supported", law.fit.reasons
    assert (law.fit.law.rho, law.fit.law.k0, law.fit.law.k_rho) == pytest.approx((1.0, 1.0, 1.0), rel=0.01)

    tables = tmp_path / "tables"
    tables.mkdir()
    document = derive_study(pilot.ledger, "wall", pilot.places, tables)
    file = tmp_path / "follow-up.yaml"
    assert command("derive", "wall", "--home", pilot.places.home, "--out", file) == 0
    assert parse_document(file.read_bytes()) == document
    assert command("derive", "wall", "--home", pilot.places.home, "--out", file) == 2  # it is there
    study = parse_study(document)
    assert parse_study(study.resolved).spec_hash == study.spec_hash
    frozen = document["derived_from"]
    assert (frozen["study"], frozen["spec_hash"]) == (pilot.study.id, parse_study(PILOT).spec_hash)
    assert frozen["law"]["answer"] == "supported"
    assert (frozen["scale"], frozen["scale_from"]) == (1.0, "stability")
    assert frozen["warmup_needed"] is True
    assert frozen["pilot_gradients"] == pytest.approx(report.costs[0].gradients)
    by_name = {schedule["name"]: schedule for schedule in document["schedules"]}
    assert list(by_name) == ["none", "linear", "derived", "pilot-best"]
    # the rate in the middle of the run is 1/(1 + gap), the gap being all but 0 there
    assert by_name["derived"]["peak_lrs"]["values"] == [pytest.approx(1.0, rel=0.02)]
    assert by_name["derived"]["warmup"]["steps"] > 2
    assert document["analysis"]["baseline"] == "linear"

    theirs = {seed.initialization for seed in parse_study(PILOT).fields.seed_list()}
    assert not theirs & {seed.initialization for seed in study.fields.seed_list()}
    trials = Counter(trial.names[2].split(" ")[0] for trial in study.trials({}))
    counts = {name: count / study.fields.num_seeds() for name, count in trials.items()}
    assert counts["none"] == frozen["configurations"] <= counts["linear"] < 1.5 * frozen["configurations"]
    assert counts["derived"] == counts["pilot-best"] == 1

    follow_up = pilot.add(document)
    pilot.finish(follow_up)
    report = write_results(pilot.ledger, follow_up.id, pilot.places, tmp_path / "follow-up")
    found = report.derived
    assert found.needed is True
    assert found.foretold_needed is True
    (words,) = report.verdicts.values()
    assert words[0].startswith("Derived from wall: warmup was needed, by ")
    assert words[1].startswith("The law had ")
    assert {each.quantity: each.held for each in found.outcomes} == dict.fromkeys(
        ("warmup_steps", "rate_stable_at_once", "curvature_after_warmup"), True
    ), found.outcomes
    assert found.was_foretold is True
    assert found.gradients["derived"] > frozen["pilot_gradients"]
    stored = json.loads((tmp_path / "follow-up" / "report.json").read_text())
    assert stored["derived"]["needed"] is True
    assert "derived_from" in (tmp_path / "follow-up" / "study.yaml").read_text()


def test_a_pilot_that_is_not_finished_is_refused(make_house, tmp_path):
    problem = refused(make_house(document=PILOT), tmp_path)["STUDY"]
    assert problem.got == "wall, queued"
    assert problem.allowed.startswith("done")


def test_a_pilot_without_a_curvature_probe_is_told_which_lines_to_add(make_house, tmp_path):
    house = make_house(document={**PILOT, "probes": []})
    house.finish()
    problem = refused(house, tmp_path)["probes"]
    assert problem.got == "none"
    assert "\nprobes:\n  - {kind: sharpness, every_steps: 20}\nprobe_budget: 1.0" in problem.allowed


def test_a_law_that_is_not_supported_writes_nothing_unless_it_is_asked_for(make_house, tmp_path):
    bowl = {**PILOT["workloads"][0], "name": "bowl", "function": {"kind": "power", "p": 4}}
    house = make_house(
        document={**PILOT, "workloads": [bowl, PILOT["workloads"][0]], "peak_lrs": {"values": [1e-4, 1e-3, 3e-3]}}
    )
    house.finish()
    folder = tmp_path / "tables"
    folder.mkdir()
    problem = refused(house, folder)["--workload"]
    assert (problem.got, problem.allowed) == ("nothing", "one of bowl, cosh: a follow-up is of one")
    assert refused(house, folder, workload="bol")["--workload"].got == "bol"
    problem = refused(house, folder, workload="bowl")["law"]
    assert problem.got == "not identifiable"
    assert "the gradient norm tells curvature as well as the gap does" in problem.allowed
    assert "--even-so" in problem.allowed
    document = derive_study(house.ledger, "wall", house.places, folder, workload="bowl", even_so=True)
    assert document["derived_from"]["law"]["answer"] == "not identifiable"
    assert as_yaml(document)
    assert parse_study(document).num_trials() > 0


def test_a_pilot_in_units_of_one_over_sharpness_is_followed_up_in_rates(make_house, tmp_path):
    """The same pilot, its rates stated as multiples of 1/101: the follow-up states rates, and the same ones."""
    few = {**PILOT, "peak_lrs": {"values": [0.003, 0.01, 0.03]}}
    multiples = {"values": [101 * rate for rate in few["peak_lrs"]["values"]], "relative_to": {"quantity": "sharpness"}}
    documents = []
    for name, rates in (("plain", few["peak_lrs"]), ("multiples", multiples)):
        house = make_house(name, document={**PILOT, "peak_lrs": rates})
        house.finish()
        (folder := tmp_path / f"tables-{name}").mkdir()
        documents.append(derive_study(house.ledger, "wall", house.places, folder, even_so=True))
    plain, relative = ({each["name"]: each for each in one["schedules"]} for one in documents)
    for name in plain:
        (ours,), (theirs,) = ([*each[name]["peak_lrs"].values()] for each in (relative, plain))
        if isinstance(theirs, dict):
            assert (ours["low"], ours["high"]) == pytest.approx((theirs["low"], theirs["high"]), rel=2e-3)
        else:
            assert ours == pytest.approx(theirs, rel=2e-3)
    assert documents[1]["derived_from"]["scale"] == documents[0]["derived_from"]["scale"]
