"""What the tasks of the clean-up came to, as django-celery-results keeps it: a page of ours in the place of its own."""

from __future__ import annotations

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django_celery_results import admin as _  # noqa: F401 - registers its pages now, and not after ours
from django_celery_results.models import GroupResult, TaskResult

from accounts.access import may_examine_service
from common.moments import moment
from common.read_only import ReadOnly

admin.site.unregister([TaskResult, GroupResult])


@admin.register(TaskResult)
class TaskResultAdmin(ReadOnly, admin.ModelAdmin):
    """When each ended, and what it removed, or the traceback of what stopped it. For those who may see the doctor."""

    show_facets = admin.ShowFacets.NEVER
    list_display = ("task_name", "ended", "state", "result")
    list_filter = ("task_name", "status")
    fields = ("task_name", "ended", "state", "worker", "result", "traceback")
    readonly_fields = fields
    ordering = ("-date_done",)
    sortable_by = ()

    def has_view_permission(self, request: HttpRequest, obj: TaskResult | None = None) -> bool:
        return may_examine_service(request.user)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return may_examine_service(request.user)

    @admin.display(description="Ended")
    def ended(self, row: TaskResult) -> SafeString:
        return moment(row.date_done)

    @admin.display(description="State")
    def state(self, row: TaskResult) -> SafeString:
        return format_html('<span class="state {}">{}</span>', row.status, row.status.capitalize())
