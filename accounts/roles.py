"""Roles: groups with the permissions that their names promise. See docs/access.md.

They are made after each `migrate`, not by a step of it, because permissions exist only then, and because
an app that comes later brings permissions of its own. What is missing is added; nothing is taken away,
so an operator may give a role more.
"""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.contrib.auth.management import create_permissions

VIEWER = ("products.view_product", "products.view_productchange")
EDITOR = (*VIEWER, "products.add_product", "products.change_product", "products.delete_product")
IMPORTER = (*VIEWER, "products.add_import")
ADMIN = ("products.*", "webhooks.*", "accounts.*", "auth.view_group")
ROLES: dict[str, tuple[str, ...]] = {"viewer": VIEWER, "editor": EDITOR, "importer": IMPORTER, "admin": ADMIN}
"""Each with its permissions; `app.*` is all of an app's."""


def ensure_roles(app_config: AppConfig, **kwargs: Any) -> None:
    """Receiver of `post_migrate`: give the roles their permissions of this app."""
    from django.contrib.auth.models import Group, Permission

    names = {name.split(".")[0] for wanted in ROLES.values() for name in wanted}
    if app_config.label not in names:
        return
    using = kwargs.get("using", "default")
    create_permissions(app_config, verbosity=0, using=using)
    permissions = list(
        Permission.objects.using(using).filter(content_type__app_label=app_config.label).select_related("content_type")
    )
    for role, wanted in ROLES.items():
        group, _ = Group.objects.using(using).get_or_create(name=role)
        group.permissions.add(*(permission for permission in permissions if _is_wanted(permission, wanted)))


def _is_wanted(permission: Any, wanted: tuple[str, ...]) -> bool:
    app = permission.content_type.app_label
    return f"{app}.*" in wanted or f"{app}.{permission.codename}" in wanted
