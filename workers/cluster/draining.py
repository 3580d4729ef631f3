"""Closes a node that is about to go: Ray starts no driver and no trainer there any more. What runs there goes on.

Without it, a study whose driver has saved may be launched on the same node again, while another driver there still
saves. By Ray's own command for it (2.60: `ray drain-node`, which no public interface promises, so that a study is as
safe without it; only a launch may be lost).
"""

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from typing import IO, Any, Self

import psutil

from workers.launcher import child_environment

RAYLET = "raylet"
NODE, HEAD = "--node_id=", "--gcs-address="
"""Of a raylet's command line."""
GOES_S = 30
"""After the drivers have had their time: what a container engine and Ray need until the node is gone."""
COMMAND = "import sys; from ray.scripts.scripts import main; sys.exit(main())"
SAID = 300


class Draining:
    """The nodes of drivers that are asked to stop. Leave its `with` block when they have."""

    def __init__(self, wait_s: float) -> None:
        self._wait_s = wait_s
        self._under_way: dict[str, tuple[subprocess.Popen[bytes], IO[bytes]]] = {}

    def __enter__(self) -> Self:
        return self

    def begin(self, drivers: Iterable[psutil.Process]) -> None:
        """Close the nodes that they run on, without waiting for it: it takes Ray some seconds, and them as many."""
        for node, head in {found for driver in drivers if (found := node_of(driver)) is not None}:
            if node not in self._under_way:
                output = tempfile.TemporaryFile()  # noqa: SIM115  # closed when its process has ended
                self._under_way[node] = (self._start(node, head, output), output)

    def _start(self, node: str, head: str, output: IO[bytes]) -> "subprocess.Popen[bytes]":
        flags = ["--address", head, "--node-id", node, "--reason", "DRAIN_NODE_REASON_PREEMPTION"]
        flags += ["--reason-message", "the node is about to go"]
        flags += ["--deadline-remaining-seconds", str(int(self._wait_s) + GOES_S)]
        return subprocess.Popen(
            [sys.executable, "-P", "-c", COMMAND, "drain-node", *flags],
            env=child_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )

    def __exit__(self, *error: Any) -> None:
        for node, (process, output) in self._under_way.items():
            with contextlib.suppress(ProcessLookupError):
                process.kill()  # nobody waits for it: the node goes now
            if process.wait() > 0:
                output.seek(0)
                words = output.read().decode(errors="replace").split()
                sys.stderr.write(f"node {node[:12]} was not closed for new drivers: {' '.join(words)[-SAID:]}\n")
            output.close()


def node_of(process: psutil.Process) -> tuple[str, str] | None:
    """Ray's id of the node whose raylet has started a process, and its head's address; None: no raylet has."""
    with contextlib.suppress(psutil.Error):
        for parent in process.parents():
            if parent.name() == RAYLET:
                line = parent.cmdline()
                node, head = (next((word for word in line if word.startswith(flag)), "") for flag in (NODE, HEAD))
                return (node.removeprefix(NODE), head.removeprefix(HEAD)) if node and head else None
    return None
