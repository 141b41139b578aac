"""What the server counts and measures, for Prometheus: `GET /metrics`."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
BATCHES = (1, 2, 4, 8, 16, 32)
METRES = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

STAGES = ("decode", "queue", "preprocess", "infer", "total")
DROPS = ("superseded", "deadline", "queue_full", "client_gone", "shadow", "record")


class Metrics:
    """One server's metrics; labels are aliases, endpoints and fixed words, never ids."""

    def __init__(self) -> None:
        """Start at zero."""
        self.registry = CollectorRegistry()
        r = self.registry
        self._stages = Histogram(
            "rlco_stage_seconds", "Time of one stage", ("stage",), buckets=SECONDS, registry=r
        )
        self._infer = Histogram(
            "rlco_infer_seconds", "One call of a policy", ("policy",), buckets=SECONDS, registry=r
        )
        self._batch = Histogram(
            "rlco_batch_size", "Requests in one call", ("policy",), buckets=BATCHES, registry=r
        )
        self._requests = Counter(
            "rlco_requests", "Requests by what became of them", ("endpoint", "outcome"), registry=r
        )
        self._drops = Counter("rlco_drops", "Work that was dropped", ("reason",), registry=r)
        self._shadow = Histogram(
            "rlco_shadow_difference_metres",
            "Largest translation difference between the shadow's chunk and the answer",
            buckets=METRES,
            registry=r,
        )
        self.queue = Gauge("rlco_queue", "Requests that wait", registry=r)
        self.sessions = Gauge("rlco_sessions", "Sessions that are remembered", registry=r)
        self._stage_of = {name: self._stages.labels(name) for name in STAGES}
        self._drop_of = {name: self._drops.labels(name) for name in DROPS}

    def stage(self, name: str, seconds: float) -> None:
        """Note how long a stage of one request took; `name` is one of `STAGES`."""
        self._stage_of[name].observe(seconds)

    def call(self, alias: str, batch: int, seconds: float) -> None:
        """Note one call of a policy."""
        self._infer.labels(alias).observe(seconds)
        self._batch.labels(alias).observe(batch)
        self._stage_of["infer"].observe(seconds)

    def request(self, endpoint: str, outcome: str) -> None:
        """Count a request; `outcome` is `ok` or the code of its refusal."""
        self._requests.labels(endpoint, outcome).inc()

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
