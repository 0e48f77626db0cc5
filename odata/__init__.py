"""The project: settings, entry points and the processes that make up the running service."""

from odata.celery import app as celery_app

__all__ = ["celery_app"]
