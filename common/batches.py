"""Much that is removed is removed some at a time: no transaction grows with what has piled up."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet

from common.stopping import stopping

AT_A_TIME = 1000
"""Rows that are removed in one transaction."""


def remove_in_batches(rows: QuerySet[Any]) -> int:
    """Remove these rows, each batch in a transaction of its own, until none is left or the worker is asked to stop;
    returns how many. The next call goes on."""
    total = 0
    while not stopping():
        removed, _ = rows.model._default_manager.filter(pk__in=rows.values("pk")[:AT_A_TIME]).delete()
        total += removed
        if removed < AT_A_TIME:
            break
    return total
