"""What the first page of the admin tells: the catalogue, the imports of a month, what runs, what changed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from django.contrib.auth import get_user_model
from django.db import connection
from django.db.models import Count, F, Q, QuerySet, Sum
from django.db.models.functions import Coalesce, TruncDate
from django.http import HttpRequest
from django.utils import timezone

from common.counting import estimate
from common.ids import first_uuid7
from products import progress
from products.models import Import, Product, ProductChange
from products.pushing import last_change

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser

    from accounts.models import User

    Person = User | AnonymousUser

DAYS = 30
EXACT_UP_TO = 100_000
"""More products than this are estimated: counting reads them all."""
RECENT = 8
STEPS, STRIDE = 16, 2000
"""The recent changes are looked for in so many steps of so many ids."""
BAR_HEIGHT, BAR_WIDTH, BAR_GAP = 80, 14, 4


def dashboard(request: HttpRequest) -> dict[str, Any]:
    """All of it that this person may see."""
    user = request.user
    sees_products = user.has_perm("products.view_product") or user.has_perm("products.change_product")
    sees_imports = may_see_imports(user)
    return {
        "catalogue": catalogue_figures() if sees_products else None,
        "month": month_of_imports(user) if sees_imports else None,
        "recent": recent_changes(user) if sees_products else None,
        **(running_imports(user) if sees_imports else {}),
    }


def may_see_imports(user: Person) -> bool:
    """Everybody's by permission, or those that somebody who may upload has uploaded."""
    return user.has_perm("products.view_import") or user.has_perm("products.add_import")


# --- the catalogue -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Figure:
    """A number of products, and whether it is exact."""

    count: int
    exact: bool


def catalogue_figures() -> dict[str, Figure]:
    """Products by status. PostgreSQL's own count of the table stands for a large one's."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT reltuples::bigint FROM pg_class WHERE oid = 'products_product'::regclass")
        about = int(cursor.fetchone()[0])
    total = Figure(about, exact=False) if about > EXACT_UP_TO else bounded(Product.objects.all())
    inactive = bounded(Product.objects.filter(status=Product.Status.INACTIVE))
    active = Figure(max(0, total.count - inactive.count), total.exact and inactive.exact)
    return {"total": total, "active": active, "inactive": inactive}


def bounded(products: QuerySet[Product]) -> Figure:
    count = products.order_by()[: EXACT_UP_TO + 1].count()
    if count <= EXACT_UP_TO:
        return Figure(count, exact=True)
    return Figure(max(count, estimate(products)), exact=False)


# --- imports -----------------------------------------------------------------------------------


def month_of_imports(user: Person) -> dict[str, Any]:
    """Imports of the last 30 days: by state, rows, rows a second, and day by day for a chart."""
    today = timezone.now().date()
    first = today - timedelta(days=DAYS - 1)
    begun = datetime.combine(first, time.min, UTC)
    imports = Import.objects.visible_to(user).filter(pk__gte=first_uuid7(begun), kind=Import.Kind.FILE)
    standings = imports.by_standing()
    done = imports.filter(state=Import.State.SUCCESS, started_at__isnull=False, finished_at__isnull=False)
    came_to = done.aggregate(rows=Sum("rows_read"), took=Sum(F("finished_at") - F("started_at")))
    rows, seconds = came_to["rows"] or 0, (came_to["took"] or timedelta()).total_seconds()
    return {
        "states": [(value, label, standings.get(value, 0)) for value, label in Import.Standing.choices],
        "total": sum(standings.values()),
        "rows": rows,
        "rows_per_second": rows / seconds if seconds else None,
        **chart(imports, first, today),
    }


@dataclass(frozen=True)
class Bar:
    """One day of the chart, in the units of its SVG."""

    day: date
    imports: int
    failed: int
    rows: int
    x: int
    y: float
    height: float


def chart(imports: QuerySet[Import], first: date, last: date) -> dict[str, Any]:
    """Rows of each day's imports that succeeded."""
    counts: dict[date, dict[str, Any]] = {
        row["day"]: dict(row)
        for row in imports.order_by()
        .values(day=TruncDate("created_at"))
        .annotate(
            number=Count("pk"),
            failed=Count("pk", filter=Q(state=Import.State.FAILURE)),
            rows=Coalesce(Sum("rows_read", filter=Q(state=Import.State.SUCCESS)), 0),
        )
    }
    highest = max([1, *(row["rows"] for row in counts.values())])
    bars = []
    for position in range((last - first).days + 1):
        day = first + timedelta(days=position)
        row = counts.get(day, {"number": 0, "failed": 0, "rows": 0})
        height = max(3.0, row["rows"] / highest * BAR_HEIGHT) if row["rows"] else 0.0
        x = position * (BAR_WIDTH + BAR_GAP)
        bars.append(
            Bar(day, row["number"], row["failed"], row["rows"], x, round(BAR_HEIGHT - height, 1), round(height, 1))
        )
    return {
        "bars": bars,
        "busy_days": [bar for bar in reversed(bars) if bar.imports],
        "highest": highest if counts else 0,
        "width": DAYS * (BAR_WIDTH + BAR_GAP),
        "height": BAR_HEIGHT,
        "full_height": BAR_HEIGHT + 5,
        "any_failed": any(bar.failed for bar in bars),
        "bar_width": BAR_WIDTH,
    }


def running_imports(user: Person) -> dict[str, Any]:
    """What runs or waits, oldest first, and what waits for somebody's decision."""
    unfinished = Import.objects.visible_to(user).filter(state__in=Import.UNFINISHED)
    imports = list(unfinished.select_related("created_by").order_by("created_at")[:20])
    checked = [each for each in imports if each.phase == Import.Phase.CHECKED]
    running = [(each, progress.document(each)) for each in imports if each.phase != Import.Phase.CHECKED]
    return {"running": running, "checked": checked}


# --- changes -----------------------------------------------------------------------------------


def recent_changes(user: Person) -> list[dict[str, Any]]:
    """The newest changes of the catalogue: each edit, and each import as one."""
    found: list[dict[str, Any]] = []
    before = last_change() + 1
    for _ in range(STEPS):
        if before <= 1 or len(found) == RECENT:
            break
        change = ProductChange.objects.filter(id__lt=before, id__gte=before - STRIDE).order_by("-id").first()
        if change is None:
            before -= STRIDE  # ids that were never used: of imports that failed
            continue
        import_ = Import.objects.filter(pk=change.import_id).first() if change.import_id else None
        whole = import_.changes_after if import_ else None
        before = change.id if whole is None else min(change.id, whole + 1)
        seen = import_ if import_ and Import.objects.visible_to(user).filter(pk=import_.pk).exists() else None
        found.append({"change": change, "import": seen})
    people = get_user_model().objects.in_bulk({each["change"].actor_id for each in found if each["change"].actor_id})
    return [{**each, "who": people.get(each["change"].actor_id or 0)} for each in found]
