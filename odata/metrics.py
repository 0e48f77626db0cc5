"""`/metrics`: how the service is, for Prometheus.

What can be looked up is looked up when it is asked for, by estimates and indexes rather than by
counting: an answer costs the same whatever the catalogue's size. Each app may have a module
`metrics` with `collect() -> Iterable[Metric]`, which is asked only while the database answers.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from importlib import import_module
from importlib.util import find_spec

import structlog
from django.conf import settings
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from common.errors import NotFoundError
from common.explain import Problem
from common.middleware import forget_unknown_user
from common.problems import problem_response
from odata import health
from odata.request_metrics import FOLDER

log = structlog.get_logger(__name__)

APPS = ("products", "webhooks", "accounts")


@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """All figures as text, for who has METRICS_TOKEN as a bearer token. Without that setting there is no such page."""
    forget_unknown_user(request)
    token = settings.METRICS_TOKEN
    if not token:
        return problem_response(request, NotFoundError("Metrics are off: the operator has set no METRICS_TOKEN."))
    if not constant_time_compare(request.headers.get("Authorization", ""), f"Bearer {token}"):
        sentence = "Send the operator's METRICS_TOKEN in the header Authorization: Bearer <token>."
        headers = {"WWW-Authenticate": 'Bearer realm="metrics"'}
        return problem_response(request, Problem(401, "metrics_token", "Unauthorized", sentence, (), headers))
    registry = CollectorRegistry()
    registry.register(ServiceCollector())
    if os.environ.get(FOLDER):
        MultiProcessCollector(registry)
        text = generate_latest(registry)
    else:
        text = generate_latest(registry) + generate_latest(REGISTRY)
    return HttpResponse(text, content_type=CONTENT_TYPE_LATEST)


class ServiceCollector(Collector):
    """What is looked up for each answer."""

    def collect(self) -> Iterator[Metric]:
        checks = health.check_all()
        states = GaugeMetricFamily(
            "odata_check", "1 if this check of /readyz is ok, 0 if it is degraded or failed.", labels=["check"]
        )
        for name, check in checks.items():
            states.add_metric([name], float(check.state == health.OK))
        yield states
        yield from pool()
        if checks["database"].state == health.OK:
            for app in APPS:
                yield from of_app(app)

    def describe(self) -> Iterable[Metric]:
        return ()  # asks nobody when it is registered


def pool() -> Iterator[Metric]:
    """The database connections of the web process that answers; the others may be in another state."""
    if not connection.settings_dict["OPTIONS"].get("pool"):
        return
    stats = connection.pool.get_stats()  # type: ignore[attr-defined]
    described = {
        "size": "Connections that it has.",
        "available": "Connections that are free.",
        "max": "Connections that it may have.",
    }
    for name, sentence in described.items():
        yield GaugeMetricFamily(
            f"odata_pool_{name}", f"Of the web process that answers: {sentence}", stats[f"pool_{name}"]
        )
    yield GaugeMetricFamily(
        "odata_pool_waiting", "Of the web process that answers: requests that wait.", stats.get("requests_waiting", 0)
    )


def of_app(app: str) -> list[Metric]:
    """What this app tells of itself; nothing, and a line in the log, where it fails: the others' figures count."""
    if find_spec(f"{app}.metrics") is None:
        return []
    try:
        return list(import_module(f"{app}.metrics").collect())
    except Exception:
        log.exception("metrics_failed", app=app)
        return []
