"""The Celery application. What it is set to, and why, stands in `odata.settings`."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery, Task
from celery.signals import (
    beat_init,
    setup_logging,
    task_postrun,
    worker_process_init,
    worker_process_shutdown,
    worker_ready,
    worker_shutting_down,
)
from django.conf import settings
from django.db import InterfaceError, OperationalError
from django_structlog.celery.steps import DjangoStructLogInitStep

from common.stopping import ask_to_stop
from odata import observability

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "odata.settings")


class ServiceTask(Task):
    """All tasks of ours. A database that is away is one line in the log, not a traceback: the next sweep is soon."""

    throws = (OperationalError, InterfaceError)


app = Celery("odata", task_cls=ServiceTask)
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.steps["worker"].add(DjangoStructLogInitStep)


@setup_logging.connect
def use_our_logging(**kwargs: Any) -> None:
    """Keep Celery from replacing the logging that Django has set up already."""


@worker_shutting_down.connect
def tell_running_tasks(**kwargs: Any) -> None:
    """SIGTERM lets running tasks end: long ones do so at their next good place."""
    ask_to_stop()


@worker_process_init.connect
def trace_tasks(**kwargs: Any) -> None:
    """In each child, since the thread that sends spans does not outlive a fork."""
    if settings.OTEL_EXPORTER_OTLP_ENDPOINT:
        observability.trace_requests(settings.OTEL_EXPORTER_OTLP_ENDPOINT, settings.PROCESS)
        worker_process_shutdown.connect(lambda **kwargs: observability.flush(), weak=False)


@worker_ready.connect
@beat_init.connect
def give_signs_of_life(**kwargs: Any) -> None:
    """`manage.py doctor` sees by them which processes run."""
    from odata import alive

    alive.keep_saying_so(os.environ.get("ODATA_PROCESS", "command"))


@task_postrun.connect
def note_end(sender: Task, retval: Any = None, **kwargs: Any) -> None:
    """A sweep that fails every time is seen by nobody else."""
    from odata import alive

    alive.note_end(sender.name, error=type(retval).__name__ if isinstance(retval, Exception) else "")
