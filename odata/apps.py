from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from django.apps import AppConfig
from django.conf import settings


class OdataConfig(AppConfig):
    name = "odata"

    def ready(self) -> None:
        from odata import checks, observability  # noqa: F401 - registers them

        # Where it can't be made, `up` says so in a sentence and an upload fails with another.
        with contextlib.suppress(OSError):
            if not settings.ODATA_HOME.exists():
                settings.PLACES.make_home()
            settings.FILE_UPLOAD_TEMP_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)

        # Commands of manage.py run the checks. A server would go on with the defaults: better not.
        if settings.SETTING_PROBLEMS and (settings.PROCESS != "command" or Path(sys.argv[0]).name == "celery"):
            sys.exit("\n".join(str(problem) for problem in settings.SETTING_PROBLEMS))
        if settings.SENTRY_DSN and not settings.SETTING_PROBLEMS:
            observability.report_errors(settings.SENTRY_DSN)
