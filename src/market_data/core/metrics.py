"""What the program counts, for Prometheus: every metric with its labels, and how all are written out.

What processes do is counted here as it happens; what the database knows is handed in as readings when
somebody asks. Labels take few values: names of routes, providers, kinds and outcomes, never paths or ids, and
symbols only for the lag of a bounded number of series.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    start_http_server,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Variable of the environment: where several processes share their counts. Heeded when this is imported."""

OPENMETRICS = "application/openmetrics-text"
_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
_PATIENT = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 180.0)
_LONG = (0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_CLASSES = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")
_SOURCES = 200
OTHER = "other"

disable_created_metrics()  # type: ignore[no-untyped-call] # else each has a second series, which nobody reads
REGISTRY = CollectorRegistry()
if FOLDER not in os.environ:
    ProcessCollector(registry=REGISTRY)

_requests = Counter(
    "market_data_http_requests",
    "Requests of the API that were answered; status none: the client left, or nothing was sent",
    ("method", "route", "status"),
    registry=REGISTRY,
)
_request_seconds = Histogram(
    "market_data_http_request_seconds",
    "Time from a request until its answer was sent whole",
    ("method", "route"),
    registry=REGISTRY,
    buckets=_FAST,
)
_provider_seconds = Histogram(
    "market_data_provider_request_seconds",
    "Time of single requests to providers, repetitions by themselves, by what the answer's status means",
    ("provider", "outcome"),
    registry=REGISTRY,
    buckets=_PATIENT,
)
_retries = Counter(
    "market_data_provider_retries",
    "Requests to providers that were repeated",
    ("provider",),
    registry=REGISTRY,
)
_failures = Counter(
    "market_data_provider_failures",
    "Ranges that could not be fetched, after all repetitions and whatever the status was",
    ("provider", "outcome"),
    registry=REGISTRY,
)
_jobs = Counter(
    "market_data_jobs",
    "Attempts at jobs by how they ended",
    ("kind", "provider", "outcome"),
    registry=REGISTRY,
)
_job_seconds = Histogram(
    "market_data_job_seconds",
    "Time of attempts at jobs, waits for their turn to ask included",
    ("kind", "outcome"),
    registry=REGISTRY,
    buckets=_LONG,
)
_bars = Counter(
    "market_data_bars",
    "Bars committed, or not stored, by source and outcome",
    ("source", "outcome"),
    registry=REGISTRY,
)
_METRICS = (_requests, _request_seconds, _provider_seconds, _retries, _failures, _jobs, _job_seconds, _bars)


@dataclass(frozen=True, slots=True)
class StateGauge:
    """A figure that is read from the database when somebody asks."""

    name: str
    help: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """One value of it; `labels` in the gauge's order."""

    gauge: StateGauge
    value: float
    labels: tuple[str, ...] = ()


DATABASE_UP = StateGauge("market_data_database_up", "1 where the database told what follows, else 0")
QUEUE_JOBS = StateGauge(
    "market_data_queue_jobs", "Jobs in the queue; failed: given up", ("kind", "provider", "status")
)
STALLED_JOBS = StateGauge(
    "market_data_queue_stalled_jobs", "Jobs being done by workers that gave no sign of life", ("kind",)
)
SUBSCRIPTIONS = StateGauge(
    "market_data_subscriptions", "Subscriptions that are followed", ("provider", "interval")
)
FAILING = StateGauge(
    "market_data_subscriptions_failing",
    "Subscriptions among them whose last attempt failed",
    ("provider", "interval"),
)
LAG_MAX = StateGauge(
    "market_data_lag_max_seconds", "Lag of the series that is furthest behind", ("provider", "interval")
)
LAG_MEDIAN = StateGauge(
    "market_data_lag_median_seconds", "Lag of half of the series", ("provider", "interval")
)
SERIES_LAG = StateGauge(
    "market_data_series_lag_seconds",
    "Lag of the 500 series that are furthest behind",
    ("provider", "symbol", "interval"),
)
BLOCKED = StateGauge(
    "market_data_provider_blocked_seconds",
    "How long the provider asked not to be asked; 0: it did not",
    ("account",),
)
TURNS = StateGauge("market_data_provider_turns", "Turns to ask taken by all processes", ("account",))
QUOTA_USED = StateGauge(
    "market_data_provider_quota_used",
    "Requests counted in the period that runs",
    ("account", "period_seconds"),
)
QUOTA_ALLOWED = StateGauge(
    "market_data_provider_quota_allowed",
    "Requests the allowance of a period has",
    ("account", "period_seconds"),
)
STATE = (
    DATABASE_UP,
    QUEUE_JOBS,
    STALLED_JOBS,
    SUBSCRIPTIONS,
    FAILING,
    LAG_MAX,
    LAG_MEDIAN,
    SERIES_LAG,
    BLOCKED,
    TURNS,
    QUOTA_USED,
    QUOTA_ALLOWED,
)


def described() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return kind and labels of each metric, by the name it is asked for with."""
    found = {}
    for metric in _METRICS:
        (told,) = metric.describe()
        suffix = "_total" if told.type == "counter" else ""
        found[told.name + suffix] = (told.type, tuple(metric._labelnames))  # noqa: SLF001 # nowhere else
    return found | {one.name: ("gauge", one.labels) for one in STATE}


@cache
def _answered(method: str, route: str, status: int) -> tuple[Callable[[], None], Callable[[float], None]]:
    """Return what counts a request: finding it costs more than counting."""
    return (
        _requests.labels(method, route, _CLASSES[status]).inc,
        _request_seconds.labels(method, route).observe,
    )


def http_answered(method: str, route: str, status: int, seconds: float) -> None:
    """Count a request; `route` is a template, `status` 0 where nothing was sent."""
    count, observe = _answered(method if method in _METHODS else OTHER, route, min(status // 100, 5))
    count()
    observe(seconds)


def provider_answered(provider: str, outcome: str, seconds: float) -> None:
    """Count one request to a provider; the outcome is `ok`, or the kind of a `ProviderError`."""
    _provider_seconds.labels(provider, outcome).observe(seconds)


def provider_retried(provider: str) -> None:
    """Count that a request is repeated."""
    _retries.labels(provider).inc()


def provider_failed(provider: str, outcome: str) -> None:
    """Count a range that was not fetched."""
    _failures.labels(provider, outcome).inc()


def job_ended(kind: str, provider: str, outcome: str, seconds: float) -> None:
    """Count an attempt at a job; `provider` is empty where it asks none."""
    _jobs.labels(kind, provider, outcome).inc()
    _job_seconds.labels(kind, outcome).observe(seconds)


_sources: set[str] = set()


def bars_counted(source: str, counts: Mapping[str, int]) -> None:
    """Count bars by outcome. Whoever uploads may name any source: those beyond a number are one."""
    if len(_sources) < _SOURCES:
        _sources.add(source)
    named = source if source in _sources else OTHER
    for outcome, count in counts.items():
        if count > 0:
            _bars.labels(named, outcome).inc(count)


class _Everything(Collector):
    """What all processes counted, and what was read."""

    def __init__(self, readings: Iterable[Reading]) -> None:
        self._readings = readings

    def collect(self) -> Iterator[Metric]:
        """Return each metric with its values."""
        counted: Collector = REGISTRY
        if FOLDER in os.environ:
            counted = MultiProcessCollector(None)  # type: ignore[no-untyped-call] # theirs has no types
        yield from counted.collect()
        families: dict[StateGauge, GaugeMetricFamily] = {}
        for one in self._readings:
            if one.gauge not in families:
                families[one.gauge] = GaugeMetricFamily(
                    one.gauge.name, one.gauge.help, labels=one.gauge.labels
                )
            families[one.gauge].add_metric(one.labels, one.value)
        yield from families.values()


def render(readings: Iterable[Reading], accept: str = "") -> tuple[bytes, str]:
    """Write everything in the format the Accept header names first; return text and media type."""
    for part in accept.split(","):
        wanted = part.partition(";")[0].strip().lower()
        if wanted == OPENMETRICS:
            written: bytes = openmetrics.generate_latest(_Everything(readings))  # type: ignore[no-untyped-call] # theirs
            return written, openmetrics.CONTENT_TYPE_LATEST
        if wanted == "text/plain":
            break
    return generate_latest(_Everything(readings)), CONTENT_TYPE_PLAIN_0_0_4


def serve(host: str, port: int) -> Callable[[], None]:
    """Serve what this process counts over HTTP; return what stops that.

    Raises:
        OSError: nothing can listen there.

    """
    server, thread = start_http_server(port, host, REGISTRY)

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop
