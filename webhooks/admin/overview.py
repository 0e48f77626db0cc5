"""What the first page of the admin tells of webhooks: who is not reached, and what waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from webhooks import statistics
from webhooks.admin import shown
from webhooks.models import WebhookEndpoint

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser

    from accounts.models import User

MOST_LOOKED_AT = 500
MOST_SHOWN = 5
TROUBLE = ("disabled", "failing", "deferred")


def overview(user: User | AnonymousUser) -> dict[str, Any] | None:
    """Of the endpoints that this person may see; None for somebody with no business there, or where there are none."""
    if not (user.has_perm("webhooks.view_webhookendpoint") or user.has_perm("webhooks.change_webhookendpoint")):
        return None
    found = list(WebhookEndpoint.objects.visible_to(user).order_by("-id")[:MOST_LOOKED_AT])
    if not found:
        return None
    health = statistics.summary(found)
    states = [row["state"] for row in health.values()]
    waited = [row["oldest_due_at"] for row in health.values() if row["oldest_due_at"]]
    return {
        "endpoints": len(found),
        "in_trouble": sum(state in TROUBLE for state in states),
        "waiting": f"{sum(row['backlog'] for row in health.values()):,}",
        "oldest": shown.moment(min(waited)) if waited else "–",
        "troubles": [
            (endpoint, shown.state(health[endpoint.pk]["state"]), f"{health[endpoint.pk]['backlog']:,}")
            for endpoint in found
            if health[endpoint.pk]["state"] in TROUBLE
        ][:MOST_SHOWN],
    }
