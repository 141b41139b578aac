"""What the server counts and measures, for Prometheus: `GET /metrics`."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
BATCHES = (1, 2, 4, 8, 16, 32)
METRES = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

STAGES = ("decode", "queue", "preprocess", "infer", "total")
DROPS = ("superseded", "deadline", "queue_full", "client_gone", "shadow", "record")


class LabelledHistogram(Collector):
    """A histogram with one label; a request passes seven, so noting a number must cost little.

    `prometheus_client`'s own takes five times as long; it reads this one when it is scraped.
    """

    def __init__(
        self, name: str, what: str, label: str, bounds: Sequence[float], known: Iterable[str] = ()
    ) -> None:
        """Start at zero, with the label values `known`; `bounds` increase."""
        self._name, self._what, self._label = name, what, label
        self._bounds = tuple(bounds)
        self._counts: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}
        self._lock = threading.Lock()
        for value in known:
            self._add(value)

    def observe(self, value: str, number: float) -> None:
        """Note one number under the label `value`."""
        index = bisect_left(self._bounds, number)
        with self._lock:
            if value not in self._counts:
                self._add(value)
            self._counts[value][index] += 1
            self._sums[value] += number

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Yield what was noted so far."""
        family = HistogramMetricFamily(self._name, self._what, labels=[self._label])
        names = [floatToGoString(bound) for bound in (*self._bounds, float("inf"))]
        with self._lock:
            for value, counts in self._counts.items():
                buckets = list(zip(names, accumulate(map(float, counts)), strict=True))
                family.add_metric([value], buckets, self._sums[value])
        yield family

    def _add(self, value: str) -> None:
        self._counts[value] = [0] * (len(self._bounds) + 1)
        self._sums[value] = 0.0


class Metrics:
    """One server's metrics; labels are aliases, endpoints and fixed words, never ids."""

    def __init__(self) -> None:
        """Start at zero."""
        self.registry = CollectorRegistry()
        r = self.registry
        self._stages = LabelledHistogram(
            "rlco_stage_seconds", "Time of one stage", "stage", SECONDS, STAGES
        )
        self._infer = LabelledHistogram(
            "rlco_infer_seconds", "One call of a policy", "policy", SECONDS
        )
        self._batch = LabelledHistogram(
            "rlco_batch_size", "Requests in one call", "policy", BATCHES
        )
        self._shadow = Histogram(
            "rlco_shadow_difference_metres",
            "Largest translation difference between the shadow's chunk and the answer",
            buckets=METRES,
            registry=r,
        )
        for histogram in (self._stages, self._infer, self._batch):
            r.register(histogram)
        self._requests = Counter(
            "rlco_requests", "Requests by what became of them", ("endpoint", "outcome"), registry=r
        )
        self._drops = Counter("rlco_drops", "Work that was dropped", ("reason",), registry=r)
        self.queue = Gauge("rlco_queue", "Requests that wait", registry=r)
        self.sessions = Gauge("rlco_sessions", "Sessions that are remembered", registry=r)
        self._drop_of = {name: self._drops.labels(name) for name in DROPS}
        self._request_of: dict[tuple[str, str], Counter] = {}

    def stage(self, name: str, seconds: float) -> None:
        """Note how long a stage of one request took; `name` is one of `STAGES`."""
        self._stages.observe(name, seconds)

    def call(self, alias: str, batch: int, seconds: float) -> None:
        """Note one call of a policy."""
        self._infer.observe(alias, seconds)
        self._batch.observe(alias, batch)
        self._stages.observe("infer", seconds)

    def request(self, endpoint: str, outcome: str) -> None:
        """Count a request; `outcome` is `ok` or the code of its refusal."""
        counter = self._request_of.get((endpoint, outcome))
        if counter is None:
            counter = self._requests.labels(endpoint, outcome)
            self._request_of[endpoint, outcome] = counter
        counter.inc()

    def drop(self, reason: str) -> None:
        """Count something dropped; `reason` is one of `DROPS`."""
        self._drop_of[reason].inc()

    def shadow(self, metres: float) -> None:
        """Note how far the shadow policy's chunk was from the answer."""
        self._shadow.observe(metres)

    def exposition(self) -> bytes:
        """Return everything in Prometheus' text format."""
        text: bytes = generate_latest(self.registry)
        return text
