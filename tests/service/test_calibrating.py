"""`plan --calibrate` measures in a child process, in bounded time, and later plans know it."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from service import calibrating
from service.calibrating import CalibrationFailed, calibrate
from service.planning import plan_study
from service.requests import Request, accept
from tests.e2e.specs import digits
from workers.ledger.ledger import Ledger
from workers.places import Places
from workers.planning import plan_packs
from workers.planning.calibration import Calibration

SMALL = digits(20, num_seeds=1)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places.resolve(home=str(tmp_path / "home"), tracking_uri="none", environment={})


@pytest.fixture
def request_(places: Places) -> Request:
    return accept(SMALL, places)


def child(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    monkeypatch.setattr(calibrating, "module_command", lambda module: [sys.executable, "-c", program])


def lines(request: Request, *, step_s: float = 0.01) -> list[dict[str, Any]]:
    packs = plan_packs(request.trials, request.datasets, device_class="cpu")
    return [Calibration(pack.group_key, pack.size, 0.0, (step_s, step_s), None).to_json() for pack in packs]


def saying(monkeypatch: pytest.MonkeyPatch, said: list[dict[str, Any]], *, then: str = "") -> None:
    told = [line for one in said for line in ({"begins": "g", "name": "n", "number": 0, "of": 2}, one)]
    text = "\n".join(map(json.dumps, told))
    child(monkeypatch, f"import sys; sys.stdin.read(); print({text!r}, flush=True)\n{then}")


def test_what_was_measured_is_in_later_plans_until_a_pack_has_run(
    places: Places, request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    saying(monkeypatch, lines(request_))
    told: list[Any] = []
    assert plan_study(SMALL, places).estimate.seconds is None
    assert calibrate(request_, places, lambda begun, found: told.append(found)) == 2
    assert [found is None for found in told] == [True, False, True, False]
    seconds = plan_study(SMALL, places, workers=1).estimate.seconds
    # two packs of 20 steps of 10 ms, and whatever range its unmeasured probes may cost
    assert seconds is not None
    assert 0.8 * 2 * 20 * 0.01 <= seconds[0] < seconds[1]
    saying(monkeypatch, lines(request_, step_s=0.02))
    calibrate(request_, places, lambda begun, found: None)
    again = plan_study(SMALL, places, workers=1).estimate.seconds
    assert again == pytest.approx(tuple(2 * each for each in seconds))


def test_a_child_that_fails_says_why(places: Places, request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    child(monkeypatch, "raise SystemExit('no torch here')")
    with pytest.raises(CalibrationFailed, match="no torch here"):
        calibrate(request_, places, lambda begun, found: None)


def test_a_child_that_takes_too_long_is_ended_and_what_it_said_is_kept(
    places: Places, request_: Request, monkeypatch: pytest.MonkeyPatch
) -> None:
    saying(monkeypatch, lines(request_)[:1], then="import time; time.sleep(60)")
    assert calibrate(request_, places, lambda begun, found: None, budget_s=0.0, startup_s=3.0) == 1
    with Ledger.open(places.home, create=False) as ledger:
        kept = [ledger.calibration("cpu", one["group_key"], one["size"]) for one in lines(request_)]
    assert [each is not None for each in kept] == [True, False]


@pytest.mark.proof
def test_a_real_study_is_measured_and_its_plan_has_a_time(places: Places, request_: Request) -> None:
    names: list[str] = []
    count = calibrate(request_, places, lambda begun, found: names.append(begun["name"]))
    assert count == 2
    assert list(dict.fromkeys(names)) == ["digits-mlp sgd", "digits-mlp adamw"]
    low, high = plan_study(SMALL, places, workers=1).estimate.seconds or (0.0, 0.0)
    assert 0 < low < high
