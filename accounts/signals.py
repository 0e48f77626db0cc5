"""What the audit log hears from Django: sign-ins good and bad, and changes of people's powers."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Group
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.db.models.signals import m2m_changed
from django.dispatch import receiver
from django.http import HttpRequest

from accounts import audit
from accounts.models import User
from common.client_ip import client_ip


@receiver(user_logged_in)
def logged_in(sender: Any, request: HttpRequest, user: User, **_: Any) -> None:
    audit.record(user, "session.started", user, ip=client_ip(request))


@receiver(user_logged_out)
def logged_out(sender: Any, request: HttpRequest, user: User | None, **_: Any) -> None:
    if user is not None:
        audit.record(user, "session.ended", user, ip=client_ip(request))


@receiver(user_login_failed)
def login_failed(sender: Any, credentials: dict[str, Any], request: HttpRequest | None = None, **_: Any) -> None:
    """The name that was tried, cut to what a name may be: now and then it is somebody's password."""
    name = str(credentials.get("username", ""))[:150].replace("\x00", "")
    audit.record(None, "session.refused", details={"username": name}, ip=client_ip(request) if request else None)


@receiver(m2m_changed, sender=User.groups.through)
def roles_changed(sender: Any, instance: Any, action: str, pk_set: set[int] | None, **_: Any) -> None:
    if action not in ("post_add", "post_remove", "post_clear") or not isinstance(instance, User):
        return
    names = sorted(Group.objects.filter(pk__in=pk_set or ()).values_list("name", flat=True))
    audit.record(None, "user.roles_changed", instance, {"change": action.removeprefix("post_"), "roles": names})
