"""Errors and traces, as a real Sentry and a real collector would get them from the real processes."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from common.tests.waiting import wait_until
from tests.acceptance.service import Service
from tests.acceptance.test_request_ids import upload_as

CANARY = "canary-4f1c"
OBSERVED = ("web", "imports")


class Receiver(ThreadingHTTPServer):
    """Takes what is posted, as the ingest of Sentry and as an OTLP collector."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies: list[tuple[str, bytes]] = []

    @property
    def events(self) -> list[dict[str, Any]]:
        """What Sentry was told: https://develop.sentry.dev/sdk/data-model/envelopes/."""
        lines = [line for path, body in self.bodies if path.endswith("/envelope/") for line in body.split(b"\n")]
        items = [json.loads(line) for line in lines if line]
        return [item for item in items if "level" in item]

    @property
    def spans(self) -> list[tuple[str, Any]]:
        """(service, span) of what the collector was sent."""
        found = []
        for path, body in self.bodies:
            if path == "/v1/traces":
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    attributes = {each.key: each.value.string_value for each in resource.resource.attributes}
                    spans = [span for scope in resource.scope_spans for span in scope.spans]
                    found += [(attributes["service.name"], span) for span in spans]
        return found


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        unpacked = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
        self.server.bodies.append((self.path, unpacked))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def receiving() -> Iterator[Receiver]:
    with Receiver() as receiver:
        thread = threading.Thread(target=receiver.serve_forever, daemon=True)
        thread.start()
        try:
            yield receiver
        finally:
            receiver.shutdown()
            thread.join()


@pytest.fixture
def receiver(service: Service) -> Iterator[Receiver]:
    """What the web server and the worker of imports report and trace, both started anew for it."""
    plain = dict(service.env)
    with receiving() as receiver:
        port = receiver.server_port
        service.env |= {
            "SENTRY_DSN": f"http://key@127.0.0.1:{port}/1",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
        for name in OBSERVED:
            service.stop(name)
        service.start(*OBSERVED)
        try:
            yield receiver
        finally:
            service.env = plain
            for name in OBSERVED:
                service.stop(name)  # whoever comes next starts them


def test_errors_and_traces_reach_their_servers_with_the_request_and_without_its_contents(
    service: Service, receiver: Receiver
) -> None:
    service.execute("ALTER SCHEMA staging RENAME TO staging_away")
    try:
        upload = upload_as(service, "edge-sentry", text=f"sku,name\nA1,{CANARY}\n")
        service.await_end(upload)
    finally:
        service.execute("ALTER SCHEMA staging_away RENAME TO staging")
    # A bug in a request: the table is not where the code expects it.
    service.execute("ALTER TABLE products_product RENAME TO elsewhere")
    try:
        broken = service.get(f"/api/v1/products/?search={CANARY}")
    finally:
        service.execute("ALTER TABLE elsewhere RENAME TO products_product")
    assert broken.status_code == 500, broken.text

    wait_until(lambda: len(receiver.events) >= 2, "an event of the worker and one of the web server", 10)
    told = {event["tags"]["request_id"]: event for event in receiver.events}
    assert told["edge-sentry"]["logentry"]["message"] == "import_broke"
    assert told["edge-sentry"]["tags"]["import_id"] == upload.id
    error = told[broken.headers["X-Request-ID"]]["exception"]["values"][-1]
    assert error["type"] == "ProgrammingError" and "products_product" not in error["value"]
    assert all("vars" not in frame for frame in error["stacktrace"]["frames"])

    wait_until(lambda: "run/products.tasks.run_import" in names(receiver), "the worker's spans", 10)
    of_task = next(span for _, span in receiver.spans if span.name == "run/products.tasks.run_import")
    of_trace = [(service, span) for service, span in receiver.spans if span.trace_id == of_task.trace_id]
    assert {service for service, _ in of_trace} == {"odata-web", "odata-worker-imports"}
    assert any(span.name.startswith("POST") for _, span in of_trace)  # the request that it all began with
    assert any("SELECT" in span.name for service, span in of_trace if service == "odata-worker-imports")

    wait_until(lambda: any(name.startswith("GET") for name in names(receiver)), "the span of the broken request", 10)
    everything = b"".join(body for _, body in receiver.bodies)
    assert CANARY.encode() not in everything
    assert service.token.encode() not in everything


def names(receiver: Receiver) -> set[str]:
    return {span.name for _, span in receiver.spans}
