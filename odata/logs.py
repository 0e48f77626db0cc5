"""Logs: one line an event, with the request id and the import id it belongs to."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import MutableMapping
from typing import Any

import structlog

from common.log_hygiene import hide

SHARED_PROCESSORS: list[Any] = [
    structlog.contextvars.merge_contextvars,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.stdlib.ExtraAdder(),
    structlog.processors.StackInfoRenderer(),
]

ROUTINE_TASKS = (
    "products.tasks.sweep_imports",
    "products.tasks.push_changes",
    "odata.tasks.worker_heartbeat",
    "webhooks.tasks.deliver",
)
ROUTINE_REQUESTS = ("GET /livez", "GET /readyz", "GET /metrics")
ROUTINE_EVENTS = ("task_enqueued", "task_started", "task_succeeded", "request_finished")


class WithoutRoutine(logging.Filter):
    """Drops what happens every few seconds and means nothing: health checks and sweeps that went well."""

    def __init__(self) -> None:
        super().__init__()
        self.routine_ids: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        event = record.msg
        if not isinstance(event, dict):
            return True
        if event.get("event") == "task_revoked" and event.get("expired"):  # it came again, and was done then
            return event.get("task") not in ROUTINE_TASKS
        if record.levelno >= logging.WARNING:
            return True
        if event.get("event") not in ROUTINE_EVENTS:
            return True
        if event.get("request") in ROUTINE_REQUESTS:
            return False
        return not self._is_of_routine_task(event)

    def _is_of_routine_task(self, event: dict[str, Any]) -> bool:
        """A task is named at its start only; until its end we remember its id."""
        task_id = str(event.get("task_id"))
        if event["event"] == "task_succeeded" and task_id in self.routine_ids:
            self.routine_ids.discard(task_id)
            return True
        if (event.get("task") or event.get("child_task_name")) not in ROUTINE_TASKS:
            return False
        if event["event"] == "task_started":
            self.routine_ids.add(task_id)
        return True


class Seldom(logging.Filter):
    """Lets the same message through once in so many seconds, whatever its arguments: a pool whose server is away says
    the same for each of its connections, again and again."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.said_at: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if now - self.said_at.get(str(record.msg), -self.seconds) < self.seconds:
            return False
        self.said_at[str(record.msg)] = now
        return True


def told_as_the_clients_fault(logger: Any, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Refused requests are no errors of ours, though Django logs them so: anybody could fill the log with them."""
    if str(event.get("logger")).startswith("django.security."):
        event["level"] = "warning"
        event.pop("exc_info", None)
    return event


def logging_config(level: str, form: str) -> dict[str, Any]:
    """The `LOGGING` setting, and structlog set up to match. `form` is json, console or auto."""
    console = form == "console" or (form == "auto" and sys.stderr.isatty())
    # Not the pretty tracebacks, which show the values of all variables.
    plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    renderer: Any = plain if console else structlog.processors.JSONRenderer()
    tail = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        told_as_the_clients_fault,
        structlog.processors.format_exc_info,
        hide,
        renderer,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *SHARED_PROCESSORS,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"without_routine": {"()": WithoutRoutine}, "seldom": {"()": Seldom, "seconds": 10}},
        "formatters": {
            "structured": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": SHARED_PROCESSORS,
                "processors": tail,
            }
        },
        "handlers": {
            "stderr": {"class": "logging.StreamHandler", "formatter": "structured", "filters": ["without_routine"]}
        },
        "root": {"handlers": ["stderr"], "level": level.upper()},
        "loggers": {
            # Their own lines for each request or task repeat what ours say.
            "django.server": {"level": "WARNING"},
            "celery.app.trace": {"level": "WARNING"},
            "celery.beat": {"level": "WARNING"},
            "celery.worker.request": {"level": "WARNING"},
            "celery.worker.strategy": {"level": "WARNING"},
            "daphne": {"level": "WARNING"},
            "psycopg.pool": {"filters": ["seldom"]},
            "kombu": {"level": "WARNING"},
            "channels_redis": {"level": "WARNING"},
            # At DEBUG these would show statements with their values, and addresses with their queries.
            "django.db.backends": {"level": "INFO"},
            "urllib3": {"level": "INFO"},
        },
    }
