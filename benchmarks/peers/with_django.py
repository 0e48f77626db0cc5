"""Sets Django up for a peer. Import it before anything that needs a model."""

from __future__ import annotations

import django
import peer
from django.conf import settings

settings.configure(
    DATABASES={"default": peer.django_database()},
    INSTALLED_APPS=["django.contrib.contenttypes", "import_export", "catalogue"],
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
)
django.setup()
