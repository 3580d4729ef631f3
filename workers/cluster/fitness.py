"""Which trainers can work on a study: those of nodes that give its bits and share its records. Others are let go."""

import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from schemas.errors import PlaceRefused, Problem
from workers.cluster.orders import Greeting, TrainerFacts
from workers.places import RECORDS

log = logging.getLogger("warmup_bench.driver")

ASK_EVERY_S = 2.0
WITHOUT_NODE_S = 60.0
"""So long a study waits for a node that fits, while the nodes that are there do not: one may be just starting again."""
SAME = ("device_class", "torch_version", "cpu_capability", "cuda_version", "intra_op_threads")
"""What decides the bits, and so has to be the same in all trainers of a study."""


class CannotRun(Exception):
    """The study cannot be run as it is, here and now; the message says why and what to do."""


class RecordsNotShared(PlaceRefused):
    """The nodes of a cluster see other places under the name that the driver has for its records."""


@dataclass(frozen=True)
class Nodes:
    """The nodes that could have a trainer of the study now."""

    usable: frozenset[str]
    own: str
    """The driver's, which may be none of them."""


class Fitness:
    """Judges each trainer by what it says first, and remembers the nodes to avoid.

    `nodes` is asked now and then, once there is one to avoid; without it, every trainer is on this machine, and one
    that cannot be used speaks for all.
    """

    def __init__(
        self,
        records: str,
        expected: TrainerFacts | None = None,
        nodes: Callable[[], Nodes] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.expected = expected
        """What the study was planned with; of a study without a plan, what its first trainer says."""
        self.avoided: dict[str, Greeting] = {}
        """Node -> what its trainer said."""
        self._records, self._nodes, self._clock = records, nodes, clock
        self._asked_at, self._none_since = -ASK_EVERY_S, 0.0
        self._differences: dict[str, str] = {}

    def fits(self, greeting: Greeting) -> bool:
        """Whether the trainer that says so can be used.

        Raises:
            CannotRun: it cannot, and no other will.
        """
        problem = greeting.problem or self._difference(greeting.facts)
        if not problem:
            return True
        if self._nodes is None:
            raise CannotRun(problem)
        if greeting.node_id not in self.avoided:
            log.warning("node %s is avoided from now on: %s", greeting.node_id[:12], problem)
        self.avoided[greeting.node_id] = greeting
        self._differences[greeting.node_id] = problem
        self._asked_at = -ASK_EVERY_S
        return False

    def avoids(self, node_id: str, problem: str) -> bool:
        """Avoid a node that lacks what a pack needs. False where no other node is left that may have it: then it is not
        the node's fault."""
        if self._nodes is None or not self._nodes().usable - self.avoided.keys() - {node_id}:
            return False
        if node_id not in self.avoided:
            log.warning("node %s is avoided from now on: %s", node_id[:12], problem)
            self.avoided[node_id], self._differences[node_id] = Greeting(None, node_id, problem), problem
        return True

    def check(self) -> None:
        """Do nothing while there is a node that may fit, or may soon be one.

        Raises:
            RecordsNotShared: all other nodes see another place of the records than the driver.
            CannotRun: for a minute no node has been there that fits.
        """
        if self._nodes is None or not self.avoided or self._clock() - self._asked_at < ASK_EVERY_S:
            return
        self._asked_at = self._clock()
        nodes = self._nodes()
        left = nodes.usable - self.avoided.keys()
        strangers = {node for node in nodes.usable if node in self.avoided and self.avoided[node].is_of_records}
        if strangers and left <= {nodes.own}:
            raise self._not_shared(next(iter(strangers)), len(strangers))
        if left or not nodes.usable:
            self._none_since = 0.0
            return
        self._none_since = self._none_since or self._clock()
        if self._clock() - self._none_since >= WITHOUT_NODE_S:
            raise CannotRun(self._what_to_do(nodes.usable))

    def _difference(self, facts: TrainerFacts | None) -> str:
        if self.expected is None or facts is None:
            return ""
        planned, here = asdict(self.expected), asdict(facts)
        return ", ".join(
            f"{name} {here[name]}, planned {planned[name]}" for name in SAME if here[name] != planned[name]
        )

    def _not_shared(self, node: str, num_nodes: int) -> RecordsNotShared:
        got = f"{self._records}: not the driver's place on {num_nodes} of the nodes ({self._differences[node]})"
        allowed = "a place that all nodes share: the same path mounted on all of them, or s3://BUCKET/PREFIX"
        return RecordsNotShared(str(Problem(RECORDS, got, allowed)))

    def _what_to_do(self, usable: frozenset[str]) -> str:
        reasons = sorted({self._differences[node] for node in usable})
        return (
            f"no node can train this study: {'; '.join(reasons)}. Bring nodes back that are as those it was planned"
            " with, and continue it; or submit it again under another name, which plans it for the nodes that are here"
        )
