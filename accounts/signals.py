"""What the audit log hears from Django: sign-ins good and bad, and changes of people's powers."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Group, Permission
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.db.models.signals import m2m_changed, post_delete, post_save, pre_save
from django.dispatch import receiver
from django.http import HttpRequest

from accounts import audit
from accounts.models import User
from common.client_ip import client_ip

POWERS = frozenset({"is_staff", "is_superuser", "is_active"})
NEWCOMER = {"is_staff": False, "is_superuser": False, "is_active": True}


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
@receiver(m2m_changed, sender=User.user_permissions.through)
def given_or_taken(sender: Any, instance: Any, action: str, reverse: bool, pk_set: set[int] | None, **_: Any) -> None:
    """Roles and permissions of people, from whichever end they were changed."""
    if action not in ("post_add", "post_remove", "pre_clear") or (action != "pre_clear" and not pk_set):
        return
    what: str = "roles" if sender is User.groups.through else "permissions"
    people: Any = [instance]
    given: Any = [instance]
    if reverse:
        people = User.objects.filter(pk__in=pk_set) if pk_set else instance.user_set.all()
    else:
        held = instance.groups if what == "roles" else instance.user_permissions
        given = held.model.objects.filter(pk__in=pk_set) if pk_set else held.all()
    if names := sorted(map(_name, given)):
        for person in people:
            audit.record_heard(f"user.{what}_changed", person, {"change": action.split("_")[1], what: names})


@receiver(m2m_changed, sender=Group.permissions.through)
def role_redefined(sender: Any, instance: Any, action: str, pk_set: set[int] | None, **_: Any) -> None:
    """What a role gives, where a person changed it; `migrate` gives the roles what they lack, which is no news."""
    if action in ("post_add", "post_remove") and pk_set and isinstance(instance, Group) and audit.somebody_acts():
        names = sorted(map(_name, Permission.objects.filter(pk__in=pk_set)))
        details = {"change": action.removeprefix("post_"), "permissions": names}
        audit.record_heard("role.permissions_changed", instance, details)


def _name(row: Any) -> str:
    if isinstance(row, Permission):
        return f"{row.content_type.app_label}.{row.codename}"
    return str(row.name)


@receiver(pre_save, sender=User)
def note_powers(sender: Any, instance: User, raw: bool, update_fields: Any = None, **_: Any) -> None:
    """Remember what is in the database, for `powers_changed`. A sign-in, which sets its date alone, costs nothing."""
    if raw or (update_fields is not None and (POWERS | {"password"}).isdisjoint(update_fields)):
        return
    before = User.objects.filter(pk=instance.pk).values(*POWERS).first() if instance.pk else None
    instance._powers_before = before or NEWCOMER  # type: ignore[attr-defined]
    # Set anew by `set_password`; at a sign-in Django may only hash the same one better, which is no change.
    instance._password_is_new = before is not None and getattr(instance, "_password", None) is not None  # type: ignore[attr-defined]


@receiver(post_save, sender=User)
def powers_changed(sender: Any, instance: User, raw: bool, **_: Any) -> None:
    before = instance.__dict__.pop("_powers_before", None)
    if raw or before is None:
        return
    changed = {name: getattr(instance, name) for name in sorted(POWERS) if getattr(instance, name) != before[name]}
    if changed:
        audit.record_heard("user.powers_changed", instance, changed)
    if instance.__dict__.pop("_password_is_new", False):
        audit.record_heard("user.password_changed", instance, {})


@receiver(post_delete, sender=User)
def person_removed(sender: Any, instance: User, **_: Any) -> None:
    audit.record_heard("user.removed", instance, {"username": instance.username})
