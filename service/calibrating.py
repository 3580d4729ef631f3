"""Measures what a study's packs cost on this machine, in a child process, and remembers it for later plans."""

import json
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from schemas.errors import WarmupBenchError
from service.planning import device_class_here
from service.requests import Request
from workers.launcher import child_environment, module_command
from workers.ledger.ledger import Ledger
from workers.places import Places
from workers.planning.calibration import Calibration

BUDGET_S = 30.0
"""All kinds of packs together; one that is slow takes its two steps all the same."""
STARTUP_S = 60.0
"""For torch to be imported and for steps under way to end, before the child is ended."""
MODULE = "workers.cluster.calibration"


class CalibrationFailed(WarmupBenchError):
    """The child that measures could not: its last words."""

    code = "calibration_failed"


def calibrate(
    request: Request,
    places: Places,
    tell: Callable[[dict[str, Any], Calibration | None], None],
    *,
    budget_s: float = BUDGET_S,
    startup_s: float = STARTUP_S,
) -> int:
    """Measure every kind of pack of a study, and store it. Returns how many kinds were measured.

    Args:
        tell: is told when a kind begins (`name`, `number`, `of`; None), and what was measured of it.

    Raises:
        CalibrationFailed: nothing could be measured. PlaceError: the home cannot be written.
    """
    places.make_home()
    device_class = device_class_here(request.study.fields.execution.device)
    asked = {
        "spec": dict(request.study.resolved),
        "datasets": {kind: facts.model_dump(mode="json") for kind, facts in request.datasets.items()},
        "data": str(places.data),
        "own": request.own.to_json(),
        "plugins": list(map(str, places.plugins)),
        "device_class": device_class,
        "budget_s": budget_s,
    }
    found = 0
    with Ledger.open(places.home) as ledger, _child(asked, budget_s + startup_s) as said:
        begun: dict[str, Any] = {}
        for line in said:
            if "begins" in line:
                begun = line
                tell(begun, None)
                continue
            calibration = Calibration.from_json(line)
            ledger.remember_calibration(device_class, calibration.group_key, calibration.size, calibration.to_json())
            found += 1
            tell(begun, calibration)
    return found


@contextmanager
def _child(asked: dict[str, Any], timeout_s: float) -> Iterator[Iterator[dict[str, Any]]]:
    """What the measuring process says, line by line. It is ended after `timeout_s`, and with this block."""
    with tempfile.TemporaryFile("w+", encoding="utf-8") as errors:
        child = subprocess.Popen(
            module_command(MODULE),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=child_environment(),
            cwd=tempfile.gettempdir(),
        )
        timer = threading.Timer(timeout_s, child.kill)
        timer.daemon = True
        timer.start()
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            with suppress(BrokenPipeError), child.stdin as stdin:  # it has ended: its status says so
                json.dump(asked, stdin)
            yield map(json.loads, child.stdout)
            # Ended for taking too long, it has said what it had measured until then.
            if (status := child.wait()) not in (0, -signal.SIGKILL):
                errors.seek(0)
                last = "\n".join(errors.read().splitlines()[-5:])
                raise CalibrationFailed(f"the packs could not be measured (status {status}):\n{last}")
        finally:
            timer.cancel()
            child.kill()
            child.wait()
            child.stdout.close()
