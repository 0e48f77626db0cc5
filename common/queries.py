"""Queries that are made with every request, whose SQL Django then writes once instead of each time."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from django.db import connections, router
from django.db.models import QuerySet


class Statement:
    """A query set of some values, such as `Token.objects.filter(key=value)`, which is compiled at its first use.

    Django takes longer to write such a query than PostgreSQL to answer it (docs/performance.md). The SQL is
    Django's own, so that it follows the models; rows come back as tuples, in the order of the query set's columns.
    """

    def __init__(self, build: Callable[..., QuerySet[Any, Any]], *samples: Any) -> None:
        """`samples` are values such as will be asked for, one for each."""
        self._build = build
        self._samples = samples

    def rows(self, *values: Any) -> list[tuple[Any, ...]]:
        """What the query finds for these values."""
        model, sql, converters = self._compiled
        connection = connections[router.db_for_read(model)]
        with connection.cursor() as cursor:
            cursor.execute(sql, values)
            found: list[tuple[Any, ...]] = cursor.fetchall()
        if not converters:
            return found
        rows = [list(row) for row in found]
        for column, (functions, expression) in converters.items():
            for row in rows:
                for function in functions:
                    row[column] = function(row[column], expression, connection)
        return [tuple(row) for row in rows]

    @cached_property
    def _compiled(self) -> tuple[Any, str, dict[int, Any]]:
        queryset = self._build(*self._samples)
        compiler = queryset.query.get_compiler(queryset.db)
        sql, parameters = compiler.as_sql()
        if tuple(parameters) != self._samples:
            raise ValueError(f"This query has other parameters than its values, in their order: {parameters}")
        return queryset.model, sql, compiler.get_converters([column[0] for column in compiler.select])
