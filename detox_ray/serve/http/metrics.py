"""A gateway process's metrics for Prometheus. Labels are routes, models and scorers, never text from a client."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class GatewayMetrics:
    """Counters since the process started."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self.requests = Counter(
            "detox_ray_requests", "Requests answered", ["route", "method", "status"], registry=registry
        )
        self.seconds = Histogram(
            "detox_ray_request_seconds", "Until the end of the answer", ["route"], buckets=_SECONDS, registry=registry
        )
        self.first_token = Histogram(
            "detox_ray_first_token_seconds",
            "Until a stream's first event",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.tokens = Counter("detox_ray_tokens", "Tokens processed", ["model", "of"], registry=registry)
        self.in_flight = Gauge("detox_ray_in_flight", "Requests in flight", registry=registry)
        self.refused = Counter("detox_ray_refused", "Requests over a limit in flight", ["limit"], registry=registry)
        self.scored = Counter(
            "detox_ray_scored", "Texts that were scored, by status", ["scorer", "status"], registry=registry
        )
        self.scorer_failures = Counter(
            "detox_ray_scorer_failures", "Texts that a scorer failed on", ["scorer"], registry=registry
        )
        self.queue = Gauge(
            "detox_ray_engine_queue", "Requests that an engine works on or has queued", ["engine"], registry=registry
        )
        self.replicas = Gauge(
            "detox_ray_engine_replicas", "Replicas of an engine that answer", ["engine"], registry=registry
        )

    def count_tokens(self, model: str, prompt: int, completion: int) -> None:
        """Count the tokens of one answer."""
        self.tokens.labels(model, "prompt").inc(prompt)
        self.tokens.labels(model, "completion").inc(completion)

    def count_scores(self, scorer: str, statuses: Iterable[str]) -> None:
        """Count the texts that a scorer received, by status."""
        for status in statuses:
            self.scored.labels(scorer, status).inc()
            if status == "failed":
                self.scorer_failures.labels(scorer).inc()

    def text(self) -> bytes:
        """Return all metrics in the text format of Prometheus."""
        return generate_latest(self._registry)
