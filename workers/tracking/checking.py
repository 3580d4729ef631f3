"""`python -m workers.tracking.checking`: whether the tracker holds what the ledger and the records give, and no more.

The order comes as JSON on stdin, the answer goes as JSON to stdout. Writes nothing.
"""

import json
import math
import sys
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from workers.ledger.ledger import Ledger
from workers.places import Places
from workers.tracking.places import open_tracker
from workers.tracking.port import FoundRun, Tracker
from workers.tracking.publications import MetricPoint, TrialPublication
from workers.tracking.publisher import Publisher, points_to_send
from workers.tracking.source import LedgerSource

Point = tuple[str, int, int, str]


@dataclass
class Compared:
    """What was compared, and what is not as it should be, a line each."""

    num_runs: int = 0
    num_points: int = 0
    findings: list[str] = field(default_factory=list)


def compare(ledger: Ledger, study_id: str, places: Places, tracker: Tracker) -> Compared:
    """Compare every run of the study with what would be published now.

    Raises:
        TrackerUnavailable, PublicationRefused: the tracker cannot be read.
    """
    source = LedgerSource(ledger, study_id, places, threading.Event())
    answer = Compared()
    experiment_id = Publisher(tracker).find_study(source.study())
    if experiment_id is None:
        answer.findings.append("the tracker does not have the study; `warmup-bench sync` publishes it")
        return answer
    by_key: dict[str, list[FoundRun]] = {}
    for run in tracker.find_runs(experiment_id):
        by_key.setdefault(run.key, []).append(run)
    answer.num_runs = sum(map(len, by_key.values()))
    answer.findings += [f"{key}: {len(runs)} runs" for key, runs in by_key.items() if len(runs) > 1]
    expected = {study_id}
    for publication in source.everything_final():
        expected.add(publication.key)
        runs = by_key.get(publication.key, [])
        if not runs:
            answer.findings.append(f"{publication.key}: no run; `warmup-bench sync` publishes it")
        elif runs[0].status != publication.status:
            answer.findings.append(f"{publication.key}: its run is {runs[0].status}, the trial {publication.status}")
        else:
            answer.findings += _differences(publication, tracker.read_points(runs[0].run_id), answer)
    answer.findings += [f"{key}: no such trial is final" for key in sorted(by_key.keys() - expected)]
    return answer


def _differences(publication: TrialPublication, held: Sequence[MetricPoint], answer: Compared) -> list[str]:
    wanted, found = set(_points(points_to_send(publication)[0])), Counter(_points(held))
    answer.num_points += len(held)
    places = Counter((key, step) for key, step, _, _ in found)
    doubled = sum(count - 1 for count in (*found.values(), *places.values()) if count > 1)
    missing, strange = len(wanted - found.keys()), len(found.keys() - wanted)
    said = {"missing": missing, "not of the records": strange, "there twice": doubled}
    counts = [f"{count} points {words}" for words, count in said.items() if count]
    return [f"{publication.key}: {', '.join(counts)}"] if counts else []


def _points(points: Iterable[MetricPoint]) -> list[Point]:
    return [
        (point.key, point.step, point.timestamp_ms, "nan" if math.isnan(point.value) else repr(float(point.value)))
        for point in points
    ]


def main(order: dict[str, Any]) -> None:
    """`order`: study_id, ledger (path or URL), home, records, tracking_uri."""
    home = Path(order["home"])
    places = Places(home, order["ledger"], order["records"], data=home, tracking_uri=order["tracking_uri"])
    tracker = open_tracker(places.tracking_uri, home)
    assert tracker is not None
    with Ledger.open(places.ledger, create=False) as ledger:
        answer = compare(ledger, order["study_id"], places, tracker)
    sys.stdout.write(f"{json.dumps(asdict(answer))}\n")


if __name__ == "__main__":
    main(json.load(sys.stdin))
