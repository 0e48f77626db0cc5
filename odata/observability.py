"""Errors to Sentry and traces to an OpenTelemetry collector, where the environment names one. Else nothing is imported.

What leaves the house holds no rows: no bodies, no query strings, no parameters of statements, no local variables,
and of an error its kind and place but no words of PostgreSQL, which quotes values. By the request id in both, the
server's own log has the rest. The two libraries take their other options, such as SENTRY_ENVIRONMENT or
OTEL_TRACES_SAMPLER, from the environment by themselves.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from common import request_ids
from common.env import SettingError

PACKAGES = {
    "SENTRY_DSN": ("sentry_sdk",),
    "OTEL_EXPORTER_OTLP_ENDPOINT": (
        "opentelemetry.sdk",
        "opentelemetry.exporter.otlp.proto.http",
        "opentelemetry.instrumentation.django",
        "opentelemetry.instrumentation.celery",
        "opentelemetry.instrumentation.psycopg",
    ),
}
"""What each setting needs: requirements-extras.txt has it."""
NOT_TRACED = "livez,readyz,metrics"
HIDDEN = "(hidden: it may hold what a row says; the server's log has it under the request id)"
QUOTES_VALUES = ("psycopg", "django.db")
"""Modules whose exceptions may say what was in a row."""
NOT_FOR_SENTRY = (
    "django_structlog.middlewares.request",
    "django_structlog.celery.receivers",
    "django.request",
    "django.security.*",
)
"""Loggers of errors that Sentry's own integrations tell already, and of requests that were refused."""


def problems(sentry_dsn: str, otlp_endpoint: str) -> Iterator[SettingError]:
    """What is wrong with the two settings, packages that are not installed included."""
    if sentry_dsn and not _is_dsn(sentry_dsn):
        problem = "is (hidden) and must be a DSN, as Sentry shows it for the project: https://key@host/number"
        yield SettingError("SENTRY_DSN", problem)
    if otlp_endpoint and not otlp_endpoint.startswith(("http://", "https://")):
        problem = f"is {otlp_endpoint!r} and must be the http:// or https:// address of a collector, without /v1/traces"
        yield SettingError("OTEL_EXPORTER_OTLP_ENDPOINT", problem)
    for name, value in (("SENTRY_DSN", sentry_dsn), ("OTEL_EXPORTER_OTLP_ENDPOINT", otlp_endpoint)):
        if value and (missing := [package for package in PACKAGES[name] if not installed(package)]):
            packages = ", ".join(missing)
            yield SettingError(name, f"needs {packages}: `pip install -r requirements-extras.txt`, or unset it")


def installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # its parent is not there
        return False


def _is_dsn(text: str) -> bool:
    try:
        parts = urlsplit(text)
        port_is_one = parts.port is None or parts.port > 0
    except ValueError:
        return False
    known = parts.scheme in ("http", "https") and parts.hostname and parts.username
    return bool(known and port_is_one and parts.path.rpartition("/")[2].isdecimal())


# --- Sentry ------------------------------------------------------------------------------------


def report_errors(dsn: str) -> None:
    """To Sentry. Once per process, before it forks or after: its thread starts with the first event."""
    import sentry_sdk
    from sentry_sdk.integrations.argv import ArgvIntegration
    from sentry_sdk.integrations.celery import CeleryIntegration
    from sentry_sdk.integrations.django import DjangoIntegration
    from sentry_sdk.integrations.logging import ignore_logger

    sentry_sdk.init(
        dsn=dsn,
        send_default_pii=False,
        include_local_variables=False,
        max_request_body_size="never",
        max_breadcrumbs=0,
        auto_session_tracking=False,
        auto_enabling_integrations=False,
        integrations=[DjangoIntegration(), CeleryIntegration(propagate_traces=False)],
        disabled_integrations=[ArgvIntegration()],  # a command may have been given a password
        before_send=_without_contents,
    )
    for name in NOT_FOR_SENTRY:
        ignore_logger(name)


def _without_contents(event: Any, hint: dict[str, Any]) -> Any:
    """An event without what a row, a query or an address says, but with the request it belongs to."""
    for exception in (event.get("exception") or {}).get("values") or []:
        if str(exception.get("module") or "").startswith(QUOTES_VALUES):
            exception["value"] = HIDDEN
    request = event.get("request") or {}
    request.pop("query_string", None)
    request_id = (request.get("headers") or {}).get(request_ids.HEADER) or request_ids.current()
    if request_id:
        event.setdefault("tags", {})["request_id"] = request_id
    record = hint.get("log_record")
    if record is not None and isinstance(record.msg, dict):  # of structlog: its name tells enough
        event["logentry"] = {"message": str(record.msg.get("event"))}
    if import_id := getattr(record, "import_id", None):
        event.setdefault("tags", {})["import_id"] = str(import_id)
    event.pop("extra", None)
    return event


# --- OpenTelemetry -----------------------------------------------------------------------------


def trace_requests(endpoint: str, process: str) -> None:
    """Send spans of requests, tasks and statements to the collector. Once per process, after it has forked, since its
    thread would not live on in a child; before Django loads its middleware."""
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.instrumentation.celery import CeleryInstrumentor
    from opentelemetry.instrumentation.django import DjangoInstrumentor
    from opentelemetry.instrumentation.psycopg import PsycopgInstrumentor
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    class WithoutContents(BatchSpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            super().on_end(_bare(span))

    name = os.environ.get("OTEL_SERVICE_NAME") or f"odata-{process}"
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    provider.add_span_processor(WithoutContents(OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")))
    trace.set_tracer_provider(provider)
    DjangoInstrumentor().instrument(excluded_urls=NOT_TRACED, response_hook=_name_request)
    CeleryInstrumentor().instrument()
    PsycopgInstrumentor().instrument()


def _name_request(span: Any, request: Any, response: Any) -> None:
    span.set_attribute("odata.request_id", response.get(request_ids.HEADER, ""))


def _bare(span: Any) -> Any:
    """A span without the words of errors and without queries. Its events are nothing but errors."""
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import Status

    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes={
            key: value.partition("?")[0] if key in ("http.url", "http.target", "url.full") else value
            for key, value in (span.attributes or {}).items()
            if key != "url.query"
        },
        links=span.links,
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def flush() -> None:
    """Send what waits: a child of a worker ends without the interpreter's own good-bye."""
    from opentelemetry import trace

    if hasattr(provider := trace.get_tracer_provider(), "force_flush"):
        provider.force_flush(2000)
