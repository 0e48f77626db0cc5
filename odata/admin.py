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
    """When each ended, and what it removed or was stopped by. For those who may see the doctor."""

    show_facets = admin.ShowFacets.NEVER
    list_display = ("task", "ended", "state", "came_to")
    list_display_links = None  # all that there is to see stands in the list
    list_filter = ("status", "task_name")
    search_fields = ("task_name", "traceback")
    search_help_text = "Part of a task's name, or of what stopped it."
    ordering = ("-date_done",)
    sortable_by = ()

    def has_view_permission(self, request: HttpRequest, obj: TaskResult | None = None) -> bool:
        return may_examine_service(request.user)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return may_examine_service(request.user)

    @admin.display(description="Task")
    def task(self, row: TaskResult) -> str:
        return str(row.task_name)

    @admin.display(description="Ended")
    def ended(self, row: TaskResult) -> SafeString:
        return moment(row.date_done)

    @admin.display(description="State")
    def state(self, row: TaskResult) -> SafeString:
        return format_html('<span class="state {}">{}</span>', row.status, row.status.capitalize())

    @admin.display(description="Came to")
    def came_to(self, row: TaskResult) -> SafeString | str:
        """What the task removed, or the last line of the traceback with the whole of it behind."""
        lines = (row.traceback or "").strip().splitlines()
        if not lines:
            return str(row.result)
        parts = (lines[-1], row.traceback)
        return format_html('<details><summary>{}</summary><pre class="traceback">{}</pre></details>', *parts)
