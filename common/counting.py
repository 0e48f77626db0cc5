"""How many rows there are, where there may be millions: counted up to a number, and estimated beyond."""

from __future__ import annotations

import json
from typing import Any

from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.utils.functional import cached_property


class EstimatingPaginator(Paginator):
    """Counts up to `EXACT_UP_TO` rows and takes the planner's estimate beyond.

    An exact count reads the whole table for each page that somebody turns.
    """

    EXACT_UP_TO = 5000
    many = False
    """Somebody has counted beyond `EXACT_UP_TO` already."""

    @cached_property
    def count(self) -> int:
        rows: QuerySet[Any] = self.object_list.order_by()  # type: ignore[attr-defined]
        if self.many:
            return max(self.EXACT_UP_TO + 1, estimate(rows))
        bounded = rows[: self.EXACT_UP_TO + 1].count()
        if bounded <= self.EXACT_UP_TO:
            return bounded
        return max(bounded, estimate(rows))

    @property
    def estimated(self) -> bool:
        """Whether `count` is about right rather than right."""
        return self.count > self.EXACT_UP_TO


def estimate(rows: QuerySet[Any]) -> int:
    """How many rows the planner expects."""
    plan = json.loads(rows.order_by().explain(format="json"))
    return int(plan[0]["Plan"]["Plan Rows"])
