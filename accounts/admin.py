"""People and tokens in the admin."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.widgets import AdminSplitDateTime
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts import audit
from accounts.forms import TokenForm
from accounts.models import ApiToken, AuditEntry, User
from common.counting import EstimatingPaginator
from common.moments import moment
from common.read_only import ReadOnly


class NamedTimes:
    """Gives the two halves of a time, which Django leaves without a label, a name for those who can't see them."""

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        field = super().formfield_for_dbfield(db_field, request, **kwargs)  # type: ignore[misc]
        widget = getattr(field, "widget", None)
        if isinstance(widget, AdminSplitDateTime):
            for half, part in zip(widget.widgets, ("date", "time"), strict=True):
                half.attrs["aria-label"] = f"{field.label}: {part}"
        return field


class Acting:
    """Tells the audit log who does what is saved here."""

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        with audit.acting(request):
            return super().changeform_view(request, *args, **kwargs)  # type: ignore[misc]

    def delete_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        with audit.acting(request):
            return super().delete_view(request, *args, **kwargs)  # type: ignore[misc]

    def changelist_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        with audit.acting(request):
            return super().changelist_view(request, *args, **kwargs)  # type: ignore[misc]


admin.site.unregister(Group)


@admin.register(Group)
class RoleAdmin(Acting, DjangoGroupAdmin):
    """Django's own; what a role gives is noted when it changes."""


@admin.register(User)
class UserAdmin(Acting, NamedTimes, DjangoUserAdmin):
    """Django's own, less the ways by which somebody who may edit users could make themselves a superuser."""

    show_facets = admin.ShowFacets.NEVER
    POWERS = ("is_staff", "is_superuser", "groups", "user_permissions")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        fields = super().get_readonly_fields(request, obj)
        return fields if request.user.is_superuser else (*fields, *self.POWERS)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_change_permission(request, obj) and self._is_level(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_delete_permission(request, obj) and self._is_level(request, obj)

    def user_change_password(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        with audit.acting(request):
            return super().user_change_password(request, *args, **kwargs)

    @staticmethod
    def _is_level(request: HttpRequest, obj: User | None) -> bool:
        return request.user.is_superuser or obj is None or not obj.is_superuser


@admin.register(ApiToken)
class ApiTokenAdmin(admin.ModelAdmin):
    """Tokens are made, renamed and deleted, which revokes them. Their secret is shown once."""

    show_facets = admin.ShowFacets.NEVER
    list_display = ("name", "key", "user", "scope_list", "created", "last_used", "expires")
    list_select_related = ("user",)
    list_filter = ("user",)
    search_fields = ("name", "key_id", "user__username")
    fields = ("user", "name", "scopes", "works_for", "last_day")
    shown_later = ("key", "user", "scope_list", "created", "last_used", "expires")

    def get_queryset(self, request: HttpRequest) -> Any:
        """Superusers see everybody's tokens, others their own."""
        tokens: Any = super().get_queryset(request)
        return tokens.visible_to(request.user)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.fields if obj is None else ("name", *self.shown_later)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return () if obj is None else self.shown_later

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        if change:
            return super().get_form(request, obj, change, **kwargs)
        form: Any = super().get_form(request, obj, change, **kwargs | {"form": TokenForm})
        form.asker = request.user
        return form

    def formfield_for_foreignkey(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "user":
            kwargs["initial"] = request.user.pk
            if not request.user.is_superuser:
                kwargs["queryset"] = User.objects.filter(username=request.user.get_username())
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def save_model(self, request: HttpRequest, obj: ApiToken, form: Any, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
            return
        token, full = ApiToken.issue(obj.user, name=obj.name, scopes=obj.scopes, expires_at=obj.expires_at)
        obj.pk, obj.key_id = token.pk, token.key_id
        audit.record_request(request, "token.issued", token, name=token.name, scopes=token.scopes, of=obj.user.username)
        self._show_once(request, full)

    def delete_model(self, request: HttpRequest, obj: ApiToken) -> None:
        audit.record_request(request, "token.revoked", obj, name=obj.name)
        super().delete_model(request, obj)

    @transaction.atomic
    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[ApiToken]) -> None:
        for token in queryset:
            audit.record_request(request, "token.revoked", token, name=token.name)
        super().delete_queryset(request, queryset)

    @staticmethod
    def _show_once(request: HttpRequest, full: str) -> None:
        url = request.build_absolute_uri("/api/v1/products/")
        messages.warning(
            request,
            format_html(
                "Copy the token now, it is not shown again: <code>{}</code>. "
                'Use it so: <code>curl -H "Authorization: Bearer {}" {}</code>',
                full,
                full,
                url,
            ),
        )

    @admin.display(description="Key id", ordering="key_id")
    def key(self, token: ApiToken) -> str:
        return f"{token.PREFIX}_{token.key_id}_…"

    @admin.display(description="Scopes")
    def scope_list(self, token: ApiToken) -> str:
        return ", ".join(token.scopes)

    @admin.display(description="Made", ordering="created_at")
    def created(self, token: ApiToken) -> SafeString:
        return moment(token.created_at)

    @admin.display(description="Last used", ordering="last_used_at")
    def last_used(self, token: ApiToken) -> SafeString | str:
        return moment(token.last_used_at) if token.last_used_at else "never"

    @admin.display(description="Expires", ordering="expires_at")
    def expires(self, token: ApiToken) -> SafeString | str:
        return moment(token.expires_at) if token.expires_at else "never"


class ActionFilter(admin.AllValuesFieldListFilter):
    """Django's, which would read all entries to find out what there is to choose."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lookup_choices = audit.actions()  # type: ignore[assignment]  # which has values, too


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnly, admin.ModelAdmin):
    """What was done, to read and to filter; nobody writes here. It may go back for years."""

    show_facets = admin.ShowFacets.NEVER
    paginator = EstimatingPaginator
    show_full_result_count = False
    list_display = ("when", "actor_name", "action", "object_type", "object_id", "ip")
    list_filter = (("action", ActionFilter), "at")
    search_fields = ("actor_name", "object_id", "request_id")
    fields = ("when", "actor_name", "action", "object_type", "object_id", "details", "ip", "request_id")
    readonly_fields = fields

    @admin.display(description="When", ordering="at")
    def when(self, entry: AuditEntry) -> SafeString:
        return moment(entry.at)
