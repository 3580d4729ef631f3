"""What /metrics tells: requests by route and status, how long they took, studies by state, the queue, listeners."""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from schemas.trials import TrialState
from workers.ledger.ledger import Ledger

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"})
UNMATCHED = "unmatched"
"""The route of a request that no route answers: its path is the caller's to choose, so it is no label."""
SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """The metrics of one application, in a registry of its own. Every label has a bounded set of values."""

    def __init__(self, ledger: Ledger, num_listeners: Callable[[], int]) -> None:
        """`num_listeners`: how many event streams are open, asked at each scrape."""
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "warmup_bench_http_requests",
            "Requests, by method, route template and status",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "warmup_bench_http_request_seconds",
            "Time until the answer was sent, streams left out",
            ("method", "route"),
            registry=self.registry,
            buckets=SECONDS,
        )
        listeners = Gauge("warmup_bench_sse_listeners", "Open event streams of this process", registry=self.registry)
        listeners.set_function(num_listeners)
        self.registry.register(_Studies(ledger))

    def answered(self, method: str, route: str, status: int, seconds: float, *, is_stream: bool) -> None:
        """Count one request."""
        method = method if method in METHODS else "other"
        self.requests.labels(method, route, str(status)).inc()
        if not is_stream:
            self.seconds.labels(method, route).observe(seconds)


class _Studies(Collector):
    """Asked of the ledger at each scrape: every process of a service says the same."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Studies by state, and how many wait."""
        counts = self._ledger.studies_by_state()
        studies = GaugeMetricFamily("warmup_bench_studies", "Studies in the ledger, by state", labels=["state"])
        for state in TrialState:
            studies.add_metric([str(state)], counts.get(str(state), 0))
        yield studies
        queued = counts.get(str(TrialState.QUEUED), 0)
        yield GaugeMetricFamily("warmup_bench_queue_length", "Studies that wait for their turn", value=queued)

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Nothing is asked of the ledger when this is registered."""
        return []
