"""One id, from the request that a client names through the task it starts to the logs and the error it ends in."""

from __future__ import annotations

import json
from typing import Any

import requests

from common.tests.waiting import wait_until
from tests.acceptance.moments import first_file
from tests.acceptance.service import Service, Upload


def upload_as(service: Service, request_id: str, *, text: str = "") -> Upload:
    text = text or first_file()
    headers = service.headers | {"Content-Type": "text/csv", "X-Request-ID": request_id}
    answer = requests.post(f"{service.url}/api/v1/imports/", data=text, headers=headers, timeout=30)
    assert (answer.status_code, answer.headers["X-Request-ID"]) == (202, request_id), answer.text
    return Upload(answer.json()["id"], text)


def logged(service: Service, process: str, request_id: str) -> list[dict[str, Any]]:
    """What this process has said of the request, oldest first."""
    lines = [line.partition(" | ") for line in tuple(service.log)]
    events = [json.loads(said) for name, _, said in lines if name.strip() == process and said.startswith("{")]
    return [event for event in events if event.get("request_id") == request_id]


def said(service: Service, process: str, request_id: str, event: str) -> bool:
    return any(each["event"] == event for each in logged(service, process, request_id))


def test_an_id_is_followed_from_a_request_through_the_workers_log_to_the_error(service: Service) -> None:
    service.execute("ALTER SCHEMA staging RENAME TO staging_away")  # a fault of ours, as the worker sees it
    try:
        upload = upload_as(service, "edge-0815")
        service.await_end(upload)
    finally:
        service.execute("ALTER SCHEMA staging_away RENAME TO staging")

    wait_until(lambda: said(service, "imports", "edge-0815", "import_broke"), "the worker's word of the fault")
    assert said(service, "web", "edge-0815", "request_finished")
    assert said(service, "imports", "edge-0815", "task_started")
    document = service.get(f"/api/v1/imports/{upload.id}/").json()
    assert document["error"]["code"] == "internal_error"
    assert "edge-0815" in document["error"]["message"]
    audited = service.query("SELECT object_id FROM accounts_auditentry WHERE request_id = 'edge-0815'")
    assert audited == [{"object_id": upload.id}]


def test_work_that_the_sweep_sends_again_still_belongs_to_who_asked_for_it(service: Service) -> None:
    service.stop("imports")
    upload = upload_as(service, "edge-4711")
    service.empty_valkey()  # its message is lost, and with it what the message said
    service.age_message(upload)
    service.start("imports")

    assert service.await_end(upload)["state"] == "SUCCESS"

    wait_until(lambda: said(service, "imports", "edge-4711", "import_ended"), "the worker's word of the end")
    assert not said(service, "imports", "edge-4711", "task_started")  # that was the sweep's
