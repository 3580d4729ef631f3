"""Creating, continuing and following a study, without its driver."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import PlaceError
from schemas.trials import TrialState
from service.progress import Progress
from service.requests import accept
from service.running import EXIT_FAILED, EXIT_NOT_MINE, DriverFailed, Prepared, Watch, collect, prepare
from tests.cluster.conftest import House, make_house  # noqa: F401 - a fixture
from tests.e2e.specs import digits
from workers.ledger.ledger import Ledger

pytestmark = pytest.mark.slow  # every test trains


@pytest.fixture
def house(make_house) -> House:  # noqa: F811
    return make_house()


def prepared(house: House, document: dict[str, Any], out: Path | None = None) -> Prepared:
    return prepare(house.ledger, accept(document, house.places), house.places, out)


def test_the_same_file_continues_its_study_and_another_makes_another(house: House) -> None:
    same, other = prepared(house, digits(40, num_seeds=1)), prepared(house, digits(41, num_seeds=1))
    assert (same.row.id, same.is_new) == (house.study.id, False)
    assert (other.row.id != house.study.id, other.is_new) == (True, True)


def test_a_file_whose_data_has_changed_makes_a_new_study(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    from workers.data import scan

    changed = [facts.model_copy(update={"sha256": "0" * 64}) for facts in scan(None)]
    monkeypatch.setattr("service.requests.scan", lambda folder: changed)
    assert prepared(house, digits(40, num_seeds=1)).is_new


def test_commands_that_start_at_once_make_one_study(house: House) -> None:
    request, found, together = accept(digits(50), house.places), [], threading.Barrier(4)

    def one() -> None:
        with Ledger.open(house.places.home) as ledger:
            together.wait()
            found.append(prepare(ledger, request, house.places, None))

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({each.row.id for each in found}) == 1
    assert sum(each.is_new for each in found) == 1


def test_a_report_that_could_not_be_written_is_written_by_the_next_command(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.finish()
    again = prepared(house, digits(40, num_seeds=1), tmp_path / "out")

    def full(*_: object) -> None:
        raise PlaceError("results: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("workers.results.write.write_report", full)
        with pytest.raises(PlaceError, match="No space left"):
            collect(house.ledger, house.places, again)
    assert not (tmp_path / "out").exists()
    collect(house.ledger, house.places, again)
    assert (tmp_path / "out" / "report.html").is_file()


class FakeDriver:
    """A driver process that has ended with `status` when first asked."""

    log = Path("driver.log")
    process = type("Process", (), {"pid": 2**22 + 1})()

    def __init__(self, status: int | None, first: Any = None) -> None:
        self._status = status
        if first is not None:
            first()

    def poll(self) -> int | None:
        return self._status

    def tail(self) -> str:
        return "the last line of the log"


@pytest.fixture
def watch(house: House, monkeypatch: pytest.MonkeyPatch):
    """A watch whose drivers end as told, and the progress it has shown."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)

    def make(*drivers: Any) -> Watch:
        left = list(drivers)
        monkeypatch.setattr("service.running.start_driver", lambda *_, **__: left.pop(0)())
        return Watch(house.ledger, house.study, house.places, 1)

    return make


def test_a_driver_that_was_killed_is_started_again(house: House, watch) -> None:
    notices: list[str] = []

    def show(progress: Progress) -> None:
        notices.extend(progress.notices)
        progress.notices.clear()

    follow = watch(lambda: FakeDriver(-9), lambda: FakeDriver(0, house.finish))
    assert follow.follow(show).state is TrialState.DONE
    assert "the driver was killed (signal 9); starting it again" in notices


def test_a_driver_that_fails_is_an_error_with_the_end_of_its_log(watch) -> None:
    with pytest.raises(DriverFailed, match=r"status 1; the same command continues(.|\n)*the last line of the log"):
        watch(lambda: FakeDriver(EXIT_FAILED)).follow(lambda progress: None)


def test_a_driver_that_is_killed_again_and_again_is_given_up(watch) -> None:
    with pytest.raises(DriverFailed, match="signal 9"):
        watch(*[lambda: FakeDriver(-9)] * 3).follow(lambda progress: None)


def test_a_study_that_another_command_drives_is_followed(house: House, watch) -> None:
    house.ledger.acquire_lease(house.study.id, "run", "another", 30.0)
    follow, shown = watch(), []

    def show(progress: Progress) -> None:
        shown.append(progress.state)
        if len(shown) == 3:
            house.ledger.release_lease(house.study.id, "run", "another", house.ledger.study(house.study.id).attempt)
            house.finish()

    assert follow.follow(show).state is TrialState.DONE
    assert follow.is_adopted
    assert not follow.has_failed


def test_a_driver_that_came_second_leaves_the_study_to_the_first(house: House, watch) -> None:
    follow = watch(lambda: FakeDriver(EXIT_NOT_MINE, house.finish))
    assert follow.follow(lambda progress: None).state is TrialState.DONE


def test_a_crowd_of_events_is_read_in_one_poll(house: House, watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.running.EVENTS_PER_READ", 2)
    house.finish()
    follow = watch()
    follow.follow(lambda progress: None)
    assert follow.progress.done == 8
    assert follow.progress.last_seq == house.ledger.last_event_seq(house.study.id)
