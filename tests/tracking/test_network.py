"""Publishing into a file never touches the network, and prints nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

_WITHOUT_NETWORK = """
import socket, sys
sys.path.insert(0, {root!r})

def refuse(*args, **kwargs):
    raise AssertionError(f"network: {{args}}")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = socket.create_connection = refuse

from pathlib import Path

import pytest
from workers.tracking.places import open_tracker
from workers.tracking.publications import EndStatus, MetricPoint, ParentPublication, StudyPublication, TrialPublication
from workers.tracking.publisher import Publisher

publisher = Publisher(open_tracker(None, Path({home!r})))
publisher.ensure_study(StudyPublication(study_id="0123456789", name="warm", spec_json="{{}}", epoch_ms=1000))
publisher.publish_trial(TrialPublication(key="0123456789/a", name="a", points=[MetricPoint("loss", 1.0, 0, 1000)],
                                         epoch_ms=1000, status=EndStatus.FINISHED))
publisher.publish_parent(ParentPublication(key="0123456789", note="done", epoch_ms=1000, status=EndStatus.FINISHED))

import threading

assert threading.active_count() == 1, threading.enumerate()  # telemetry would have a thread
assert not [name for name in ("torch", "ray") if name in sys.modules]
"""


@pytest.mark.proof
def test_publishing_into_a_file_makes_no_connection_starts_no_thread_and_prints_nothing(tmp_path: Path):
    script = _WITHOUT_NETWORK.format(root=str(Path(__file__).parents[2]), home=str(tmp_path / "home"))
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["home"]
