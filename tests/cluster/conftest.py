"""A driver in this process, whose trainers are PackRunners that answer at once: a test decides what happens when."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from schemas.records import PACK_TABLES
from schemas.study import parse_study
from schemas.trials import PackTask, TrialState
from tests.e2e.specs import digits
from workers.cluster import driver as driver_module
from workers.cluster import grounds
from workers.cluster import slots as slots_module
from workers.cluster.aside import Aside
from workers.cluster.driver import Driver
from workers.cluster.grounds import ThisMachine
from workers.cluster.heartbeat import Heartbeat
from workers.cluster.orders import Greeting, TrainerFacts
from workers.cluster.pack_runner import PackRunner
from workers.cluster.ray_processes import RayLost
from workers.cluster.stopping import StopRequest
from workers.data import scan
from workers.ledger.ledger import Ledger
from workers.ledger.rows import StudyRow
from workers.places import Places
from workers.planning import expand_trials
from workers.records import RecordStore, SegmentRef
from workers.studies import create_study, publish_data

PACK_SIZE = 4
FACTS = TrainerFacts("cpu", str(torch.__version__), "TEST", None, 1, {})


class DeadError(Exception):
    """What Ray raises for an actor that is gone."""


class KilledError(BaseException):
    """Stands for SIGKILL: nothing that it passes on its way is done, but for what a `finally` does."""


class FakeRay:
    """`ray`, as far as Slots uses it: every reference is ready at once."""

    exceptions = SimpleNamespace(RayError=DeadError)

    def wait(self, pending: list[Any], *, num_returns: int, timeout: float) -> tuple[list[Any], list[Any]]:
        return list(pending), []

    def get(self, reference: Any) -> Any:
        answer = reference()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def kill(self, actor: Any) -> None:
        pass


class FakeTrainer:
    """An actor whose turns are made when they are asked for. `fate(turn number)` may return an error instead, and so
    may `curse(the pack's task)`."""

    def __init__(
        self, records: str, fate: Callable[[int], Exception | None], curse: Callable[[PackTask], Exception | None]
    ) -> None:
        self._runner = PackRunner(records, None)
        self._fate, self._curse = fate, curse
        self._task: PackTask | None = None
        self.num_turns = 0
        self.advance = SimpleNamespace(remote=self._advance)
        self.greet = SimpleNamespace(remote=lambda: lambda: Greeting(FACTS))

    def _advance(self, order: Any, turn_s: float, save: bool = False) -> Callable[[], Any]:
        self.num_turns += 1
        self._task = order.task if order is not None else self._task
        error = self._fate(self.num_turns) or self._curse(self._task)
        try:
            answer = error if error is not None else self._runner.advance(order, 0.0, save=save)
        except KilledError as killed:
            answer = DeadError(str(killed))
        return lambda: answer


class StopAfter(StopRequest):
    """Asks to stop at the n-th question."""

    def __init__(self, num_questions: int) -> None:
        super().__init__()
        self._left = num_questions

    @property
    def reason(self) -> str:
        self._left -= 1
        return "asked to stop" if self._left < 0 else ""


class House:
    """A home with one study, and drivers for it."""

    def __init__(self, folder: Path, document: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        self.places = Places.resolve(home=str(folder), tracking_uri="none", environment={})
        self.places.make_home()
        self.ledger = Ledger.open(self.places.home)
        self.trainers: list[FakeTrainer] = []
        self.drivers: list[Driver] = []
        self.num_rays = 0
        self._monkeypatch = monkeypatch
        publish_data(self.ledger, self.places.data)
        self.study = self.add(document)

    def add(self, document: dict[str, Any]) -> StudyRow:
        """Another study in the same home."""
        study = parse_study(document)
        trials = expand_trials(study, {facts.kind: facts for facts in scan(None)})
        return create_study(self.ledger, study, trials)

    def drive(
        self,
        *,
        study: StudyRow | None = None,
        workers: int = 2,
        stop: StopRequest | None = None,
        fate: Callable[[int], Exception | None] = lambda turn: None,
        curse: Callable[[PackTask], Exception | None] = lambda task: None,
        ray_dies_at_turn: int | None = None,
        aside: Callable[[int], Aside] | None = None,
    ) -> TrialState:
        """One driver, to its end. `fate` is every trainer's own count of turns; `aside` is made from its fence."""

        def check() -> None:
            if ray_dies_at_turn is not None and sum(each.num_turns for each in self.trainers) >= ray_dies_at_turn:
                raise RayLost("its Ray is lost: raylet has ended")

        @contextmanager
        def no_ray(num_cpus: int, num_gpus: int = 0) -> Iterator[SimpleNamespace]:
            self.num_rays += 1
            yield SimpleNamespace(ready=lambda timeout_s: True, check=check)

        def start(records: str, *_: Any) -> FakeTrainer:
            self.trainers.append(FakeTrainer(records, fate, curse))
            return self.trainers[-1]

        self._monkeypatch.setattr(grounds, "start_trainer", start)
        self._monkeypatch.setattr(grounds, "local_ray", no_ray)
        study_id = (study or self.study).id
        heartbeat = Heartbeat.acquire(self.ledger, study_id)
        assert heartbeat is not None
        with heartbeat:
            driver = Driver(
                self.ledger,
                study_id,
                self.places,
                heartbeat,
                stop or StopRequest(),
                ground=ThisMachine(workers),
                aside=aside and aside(heartbeat.fence),
            )
            self.drivers.append(driver)
            return driver.run()

    def rows(self, study: StudyRow | None = None) -> dict[str, dict[str, list[str]]]:
        """Trial id -> table -> its rows in order, as text: NaN equals NaN, and no digit is lost. Without timings."""
        manifests = self.ledger.manifests((study or self.study).id).values()
        segments = [tuple(SegmentRef(**row) for row in rows) for rows in manifests]
        found: dict[str, dict[str, list[str]]] = {}
        for table in sorted({*PACK_TABLES} - {"timings"}):
            for row in RecordStore(self.places.records).read_many(segments, table).to_pylist():
                found.setdefault(row.pop("trial_id"), {}).setdefault(table, []).append(repr(row))
        return found

    def finish(self, study: StudyRow | None = None, **how: Any) -> None:
        """Drive to the end and make the study done."""
        assert self.drive(study=study, **how) is TrialState.DONE
        row = self.ledger.study((study or self.study).id)
        self.ledger.set_study_state(row.id, TrialState.DONE, fence=row.attempt)


@pytest.fixture
def make_house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., House]]:
    """A house with a small digits study, or `document`: two packs, chunks of ten steps, a chunk a turn."""
    monkeypatch.setattr("workers.planning.packs.CHUNK_STEPS", 10)
    # The table's has 128 slots, of which 4 would be filled: most of a test's time.
    monkeypatch.setattr("workers.planning.packs.table_pack_size", lambda *_: PACK_SIZE)
    monkeypatch.setattr(slots_module, "ray", FakeRay())
    monkeypatch.setattr(driver_module, "RETRY_S", 0.0)
    monkeypatch.setattr(driver_module, "facts_without_trainer", lambda device: FACTS)
    houses: list[House] = []

    def make(name: str = "home", **how: Any) -> House:
        document = how.pop("document", None) or digits(how.pop("num_steps", 40), num_seeds=1, **how)
        houses.append(House(tmp_path / name, document, monkeypatch))
        return houses[-1]

    yield make
    for house in houses:
        house.ledger.close()
