"""Endpoints and the log of their deliveries in Django's admin."""

from webhooks.admin.deliveries import DeliveryAdmin
from webhooks.admin.endpoints import WebhookEndpointAdmin

__all__ = ["DeliveryAdmin", "WebhookEndpointAdmin"]
