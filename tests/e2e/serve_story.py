"""What happened to the studies of one home, whose service was killed, started again, stopped, and started again."""

import json
import os
import signal
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from service.client import Client, Trial
from tests.e2e.commands import Ended, as_file, command, wait_for
from tests.e2e.serving import Served, ended_at_last, processes_of_home, serve, trainers_of_home
from tests.e2e.specs import digits
from workers.ledger.ledger import Ledger
from workers.ledger.rows import EventKind

LONG, LONGEST, ENDLESS = 1_500, 8_000, 200_000
"""Steps: each study its own, or the trials of one would be taken over by the next."""
TABLES = ("steps", "evaluations", "probes")


@dataclass
class Submitted:
    """One study that the command line submitted, followed and asked for its report; and what the client reads of it."""

    id: str
    home: Path
    key_mode: int
    libraries: str
    """What the process of the API has mapped."""
    stopped: int
    """Status after Ctrl-C."""
    followed: Ended
    reported: Ended
    folder: Path
    trials: list[Trial]
    tables: dict[tuple[str, str], dict[str, list[Any]]]
    """Trial and table -> columns, as Parquet carried them."""
    columns: dict[tuple[str, str], dict[str, list[Any]]]
    """The same, as JSON carried them."""
    some: dict[str, list[Any]]
    """Every second step of the trial that diverged."""
    kinds: list[str]
    """Of its events."""


@dataclass
class Story:
    """A home and what was found in it."""

    home: Path
    pace: Path
    """While this file is there, training is slow."""
    ids: dict[str, str] = field(default_factory=dict)
    found: dict[str, Any] = field(default_factory=dict)

    def drivers(self, name: str) -> list[int]:
        """Process ids of the drivers of a study."""
        mark = f"workers.cluster --study {self.ids[name]}"
        return [pid for pid, line in processes_of_home(self.home).items() if mark in line]

    def state(self, name: str) -> str:
        """Of a study, as the ledger has it."""
        with Ledger.open(self.home, create=False) as ledger:
            return ledger.study_head(self.ids[name]).state

    def events(self, name: str, kind: EventKind) -> list[Any]:
        """Those of one kind."""
        with Ledger.open(self.home, create=False) as ledger:
            return [event for event in ledger.events(self.ids[name]) if event.kind is kind]

    def steps(self, name: str) -> set[int]:
        """How many steps each pack's records have."""
        with Ledger.open(self.home, create=False) as ledger:
            return {pack.step for pack in ledger.packs(self.ids[name])}


@contextmanager
def told(home: Path) -> Iterator[Story]:
    """All of it. At the end nothing runs any more."""
    pace = home.parent / "pace"
    with ended_at_last(home):
        story = Story(home, pace)
        with serve(home, "--workers", "2", pace=pace) as first:
            _share_and_cancel(story, first)
            _kill(story, first)
        with serve(home, "--workers", "2", pace=pace) as second:
            _adopt(story, second)
            _stop(story, second)
        with serve(home, "--workers", "2", pace=pace) as third:
            _lose_ray(story, third)
            story.found["status of Ctrl-C"] = third.stop(signal.SIGINT)
        yield story


def _share_and_cancel(story: Story, served: Served) -> None:
    """One study has all cores until another one comes; a third waits; the cancel of one gives its core to the third."""
    ids, found = story.ids, story.found
    ids["cancelled"] = served.submit(digits(ENDLESS, num_seeds=1, name="endless"))
    served.wait_for_steps(ids["cancelled"])
    wait_for(lambda: len(trainers_of_home(story.home)) == 2, "both cores to work")
    ids["killed"] = served.submit(digits(LONGEST, num_seeds=1, name="long"))
    served.wait_for_steps(ids["killed"])
    found["trainers of two"] = len(trainers_of_home(story.home))
    ids["waits"] = served.submit(digits(40, num_seeds=1, name="short"))
    time.sleep(1.0)  # two rounds of the controller
    found["third"] = served.study(ids["waits"])["state"]
    began = time.monotonic()
    (doomed,) = story.drivers("cancelled")
    served.request("POST", f"/v1/studies/{ids['cancelled']}:cancel")
    served.wait_until(ids["cancelled"], "cancelled")
    wait_for(lambda: not psutil.pid_exists(doomed) or len(trainers_of_home(story.home)) < 2, "a free core")
    found["seconds to cancel"] = time.monotonic() - began
    found["cancelled again"] = served.request("POST", f"/v1/studies/{ids['cancelled']}:cancel")["state"]
    served.wait_until(ids["waits"], "done")


def _kill(story: Story, served: Served) -> None:
    story.found["driver"] = story.drivers("killed")
    served.kill()
    story.found["state when killed"] = story.state("killed")
    time.sleep(0.5)
    story.found["driver without a service"] = story.drivers("killed")


def _adopt(story: Story, served: Served) -> None:
    wait_for(lambda: '"adopted a driver"' in served.said(), "the adoption")
    story.pace.unlink()
    story.found["killed"] = served.wait_until(story.ids["killed"], "done")
    story.found["said by the second"] = served.said()


def _stop(story: Story, served: Served) -> None:
    story.pace.touch()
    story.ids["stopped"] = served.submit(digits(LONG, num_seeds=1, name="stopped"))
    served.wait_for_steps(story.ids["stopped"])
    began = time.monotonic()
    story.found["status"] = served.stop()
    story.found["seconds to stop"] = time.monotonic() - began
    story.found["left"] = processes_of_home(story.home)
    story.found["state when stopped"] = story.state("stopped")


def _lose_ray(story: Story, served: Served) -> None:
    """The study that was stopped is continued, and loses its Ray meanwhile."""

    def is_continued() -> bool:
        *_, running = story.events("stopped", EventKind.STUDY_RUNNING)
        return story.events("stopped", EventKind.PACK_PROGRESS)[-1].seq > running.seq

    wait_for(lambda: len(story.events("stopped", EventKind.STUDY_RUNNING)) == 2 and is_continued(), "more steps")
    (host,) = [pid for pid, line in processes_of_home(story.home).items() if "workers.cluster.ray_host" in line]
    os.kill(host, signal.SIGKILL)
    story.pace.unlink()
    story.found["continued"] = served.wait_until(story.ids["stopped"], "done")


@contextmanager
def submitted(home: Path) -> Iterator[Submitted]:
    """One study submitted, followed and fetched; then Ctrl-C. At the end nothing runs any more."""
    with ended_at_last(home):
        with serve(home, "--workers", "2") as served:
            one = _submit(home, served)
            one.stopped = served.stop(signal.SIGINT)
        yield one


def _submit(home: Path, served: Served) -> Submitted:
    document = digits(40, num_seeds=1, name="submitted")
    # So large that it diverges: what is not finite has to come through.
    document["optimizers"][0]["peak_lrs"] = {"values": [0.1, 1e6]}
    file = as_file(document, home.parent / "study.yaml")
    where = ("--server", served.url, "--home", home)
    followed = command("submit", file, "--follow", "--json", *where, cwd=home.parent)
    study_id = json.loads(followed.out)["id"]
    reported = command("report", study_id[:8], "--out", home.parent / "out", *where, cwd=home.parent)
    with Client(served.url, (home / "serve.key").read_text(encoding="utf-8")) as client:
        trials = list(client.trials(study_id))
        pairs = [(trial.id, table) for trial in trials for table in TABLES]
        (lost, *_) = [trial for trial in trials if trial.outcome == "diverged"]
        return Submitted(
            study_id,
            home,
            stat.S_IMODE((home / "serve.key").stat().st_mode),
            Path(f"/proc/{served.process.pid}/maps").read_text(encoding="utf-8"),
            -1,
            followed,
            reported,
            home / "studies" / study_id,
            trials,
            {pair: client.records_table(*pair).to_pydict() for pair in pairs},
            {pair: client.records(*pair) for pair in pairs},
            client.records(lost.id, columns=["step", "train_loss"], first_step=1, every=2),
            [event.kind for event in client.events(study_id)],
        )
