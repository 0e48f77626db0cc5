"""The web process: all HTTP (`python -m odata.web --interface wsgi odata.wsgi:application`)."""

import gc
import os

os.environ.setdefault("ODATA_PROCESS", "web")
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "odata.settings")

from django.conf import settings

from odata.request_metrics import share_measurements

if settings.PROCESS == "web":
    share_measurements(settings.ODATA_HOME)  # before anything imports prometheus_client

from django.core.wsgi import get_wsgi_application

if settings.OTEL_EXPORTER_OTLP_ENDPOINT and not settings.SETTING_PROBLEMS:
    from odata.observability import trace_requests

    trace_requests(settings.OTEL_EXPORTER_OTLP_ENDPOINT, settings.PROCESS)  # before Django loads its middleware

from django.core.cache import close_caches
from django.core.signals import request_finished, request_started
from django.db import reset_queries

from common.utf8 import Utf8Request
from common.whole_bodies import WholeBodies

if not settings.DEBUG:
    request_started.disconnect(reset_queries)  # with each request; but only DEBUG has queries remembered
request_finished.disconnect(close_caches)  # with each request, too; we have none but Django's default, in memory

django_application = get_wsgi_application()
django_application.request_class = Utf8Request
application = WholeBodies(django_application)

from odata import urls  # noqa: E402, F401 - all views, which are else loaded with the first request

# What is there by now stays. To look through it again costs the collector 80 ms, once in some twenty pages of a
# thousand entries each.
gc.collect()
gc.freeze()
