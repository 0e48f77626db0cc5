"""The web process: all HTTP (`granian --interface wsgi odata.wsgi:application`)."""

import os

os.environ.setdefault("ODATA_PROCESS", "web")
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "odata.settings")

from django.core.wsgi import get_wsgi_application

from common.whole_bodies import WholeBodies

application = WholeBodies(get_wsgi_application())
