"""Endpoints that the service itself turns off, and who is told of it: people by e-mail, other systems by an event."""

from __future__ import annotations

import logging
import uuid
from functools import partial

from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.db.models.functions import Now

from webhooks import outbox
from webhooks.models import Delivery, WebhookEndpoint
from webhooks.results import Trouble

logger = logging.getLogger(__name__)

WARNING = """No delivery to this webhook endpoint has succeeded for 24 hours:

{url}

The last event that it did not take was {event_type}. The last error: {error}

Its deliveries are tried again and again. If none succeeds for 5 days, the endpoint is turned off.
{link}
"""
TURNED_OFF = """This webhook endpoint was turned off:

{url}

{reason} The last event was {event_type}. The last error: {error}

What there is to deliver waits for {days} days. Turn the endpoint on again when its receiver works, and it is sent.
{link}
"""


def handle(trouble: Trouble) -> None:
    """Do what is to be done about an endpoint in trouble."""
    if trouble.turns_off:
        turn_off(trouble)
    else:
        warn(trouble)


def warn(trouble: Trouble) -> None:
    endpoint = WebhookEndpoint.objects.filter(pk=trouble.endpoint_id).first()
    if endpoint is not None:
        logger.warning("webhook_endpoint_failing", extra={"endpoint_id": str(endpoint.pk), "error": trouble.error})
        _mail(endpoint, "Webhook endpoint fails", WARNING, trouble)


@transaction.atomic
def turn_off(trouble: Trouble) -> bool:
    """Turn an endpoint off and tell the others that want to know; False where it is off already."""
    endpoint = WebhookEndpoint.objects.select_for_update(of=("self",)).filter(pk=trouble.endpoint_id).first()
    if endpoint is None or not endpoint.enabled:
        return False
    WebhookEndpoint.objects.filter(pk=endpoint.pk).update(
        enabled=False, disabled_at=Now(), disabled_reason=trouble.turns_off[:255], updated_at=Now()
    )
    endpoint.refresh_from_db()
    _tell_others(endpoint)
    logger.warning(
        "webhook_endpoint_turned_off",
        extra={"endpoint_id": str(endpoint.pk), "reason": trouble.turns_off, "error": trouble.error},
    )
    transaction.on_commit(partial(_mail, endpoint, "Webhook endpoint turned off", TURNED_OFF, trouble))
    return True


def _tell_others(endpoint: WebhookEndpoint) -> None:
    waiting = Delivery.objects.filter(endpoint_id=endpoint.pk, state=Delivery.State.PENDING).count()
    data = {
        "endpoint_id": str(endpoint.pk),
        "url": endpoint.url,
        "reason": endpoint.disabled_reason,
        "disabled_at": endpoint.disabled_at,
        "deliveries_waiting": waiting,
    }
    event_id = outbox.publish("endpoint.disabled", data)
    if event_id is not None:  # itself can't be told, and need not be when it is turned on again
        Delivery.objects.filter(event_id=event_id, endpoint_id=endpoint.pk, state=Delivery.State.PENDING).delete()


def _mail(endpoint: WebhookEndpoint, subject: str, text: str, trouble: Trouble) -> None:
    """Tell the people concerned. That it can't be sent is logged, and no more: the page of the endpoint says it too."""
    to = recipients(endpoint)
    if not to:
        return
    body = text.format(
        url=endpoint.url,
        event_type=trouble.event_type,
        error=trouble.error,
        reason=trouble.turns_off,
        days=settings.WEBHOOK_RETENTION_DAYS,
        link=link_to(endpoint.pk),
    )
    try:
        send_mail(" ".join(f"{subject}: {endpoint}".split())[:200], body, None, to)
    except Exception as error:  # whatever a mail server may do to us, deliveries go on
        logger.error("webhook_mail_not_sent: %s", error, extra={"endpoint_id": str(endpoint.pk)})


def recipients(endpoint: WebhookEndpoint) -> list[str]:
    """Who made the endpoint, if they are still with us, and those who watch over all of them."""
    maker = endpoint.created_by
    its_own = [maker.email] if maker and maker.is_active and maker.email else []
    return list(dict.fromkeys([*its_own, *settings.WEBHOOK_ALERT_EMAILS]))


def link_to(endpoint_id: uuid.UUID) -> str:
    """The endpoint's page; its path alone where SITE_URL is not set."""
    return f"{settings.SITE_URL.rstrip('/')}/admin/webhooks/webhookendpoint/{endpoint_id}/change/"
