"""`/api/v1/imports/{id}/rejects/`: the rows of a file that were not applied."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import PurePosixPath
from tempfile import TemporaryFile
from typing import Any

from django.conf import settings
from django.http import FileResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.models import Scope
from common.errors import NotFoundError
from common.openapi import problems
from common.pagination import KeysetPages
from common.parameters import choice
from products.api.imports import ID, visible_import
from products.api.rejects_csv import rejects_csv
from products.api.serializers import ReportedRowDocument
from products.importing import report
from products.models import Import, ReportedRow

OUTCOME = OpenApiParameter(
    "outcome",
    OpenApiTypes.STR,
    enum=ReportedRow.Outcome.values,
    default=str(ReportedRow.Outcome.REJECTED),
    description="`rejected`: rows with errors. `duplicate`: rows that a later line with the same sku replaced. "
    "`repaired`: rows that were applied, after something in them was put right.",
)


class CsvRenderer(BaseRenderer):
    """Says that there is CSV to be had, for requests that accept nothing else; the view makes it itself."""

    media_type = "text/csv"
    format = "csv"

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> Any:
        return data


class LinePages(KeysetPages):
    """In the order of the file."""

    ordering = "line_number"


class CauseDocument(serializers.Serializer):
    """What some rows have in common. A row may have several causes."""

    code = serializers.CharField(help_text="Stable name of the rule that was broken.")
    column = serializers.CharField(allow_blank=True, help_text="Empty where the row as a whole is meant.")
    count = serializers.IntegerField(help_text="Rows.")
    lines = serializers.ListField(child=serializers.IntegerField(), help_text=f"The first {report.LINES} of them.")
    message = serializers.CharField(help_text="Of the first of these rows.")


class CausesDocument(serializers.Serializer):
    """The causes, most frequent first."""

    rows_looked_at = serializers.IntegerField(help_text=f"The first {report.ROWS_LOOKED_AT:,} at most.")
    results = CauseDocument(many=True, help_text="The causes, most frequent first.")


@extend_schema(tags=["imports"])
class RejectsViewSet(GenericViewSet):
    queryset = ReportedRow.objects.all()
    serializer_class = ReportedRowDocument
    pagination_class = LinePages
    required_scopes = {
        "list": {Scope.READ, Scope.IMPORT},
        "summary": {Scope.READ, Scope.IMPORT},
        "download": {Scope.READ, Scope.IMPORT},
    }

    def get_renderers(self) -> list[BaseRenderer]:
        renderers = super().get_renderers()
        # By the address and not the action: a method that is not taken here has none, and is to be told so.
        return [CsvRenderer(), *renderers] if "download" in self.action_map.values() else renderers

    @extend_schema(
        operation_id="imports_rejects_list",
        summary="List the rows that were not applied",
        description="In the order of the file, with their cells as they were and all that is wrong with them.",
        parameters=[ID, OUTCOME],
        responses={200: ReportedRowDocument(many=True), **problems(404)},
    )
    def list(self, request: Request, import_id: str) -> Response:
        import_ = _kept(visible_import(request, import_id))
        rows = report.rows_of(import_, _outcome(request))
        page = self.paginate_queryset(rows.values("line_number", "outcome", "errors", "cells")) or []
        return self.get_paginated_response([_reported(row) for row in page])

    @extend_schema(
        operation_id="imports_rejects_summary",
        summary="Count the rows that were not applied by cause",
        description="The most frequent cause first, each with the first lines that it is found in.",
        parameters=[ID, OUTCOME],
        responses={200: CausesDocument, **problems(404)},
    )
    def summary(self, request: Request, import_id: str) -> Response:
        import_, outcome = _kept(visible_import(request, import_id)), _outcome(request)
        total = {"rejected": import_.rows_rejected, "duplicate": import_.rows_duplicate}
        rows = total.get(outcome, import_.rows_repaired)
        causes = [asdict(cause) for cause in report.causes(import_, outcome)]
        return Response({"rows_looked_at": min(rows, report.ROWS_LOOKED_AT), "results": causes})

    @extend_schema(
        operation_id="imports_rejects_csv",
        summary="The rows that were not applied, as a file to correct and upload again",
        description="The cells as they were, behind two columns, `_line` and `_error`, that an import ignores. Cells "
        "that a spreadsheet would take for formulas get an apostrophe; an import removes it.",
        parameters=[ID, OUTCOME],
        responses={(200, "text/csv"): OpenApiTypes.STR, **problems(404, 507)},
    )
    def download(self, request: Request, import_id: str) -> FileResponse:
        outcome = _outcome(request)
        import_ = _kept(visible_import(request, import_id))
        # Made before the answer begins, as an export is: cut off in the middle, it would look whole.
        file = TemporaryFile(dir=settings.FILE_UPLOAD_TEMP_DIR)  # noqa: SIM115 - the answer closes it
        try:
            file.writelines(piece.encode() for piece in rejects_csv(import_, outcome))
            file.seek(0)
        except BaseException:
            file.close()
            raise
        name = f"{outcome}-{_plain(import_.file_name)}.csv"
        return FileResponse(file, as_attachment=True, filename=name, content_type="text/csv; charset=utf-8")


def _kept(import_: Import) -> Import:
    """The import, if its rows are still there. Raises NotFoundError."""
    if import_.cleared_at:
        raise NotFoundError(
            "The rows of this import are not kept any more: they were removed with its file, for their age.",
            code="rows_gone",
        )
    return import_


def _outcome(request: Request) -> str:
    return choice(request, "outcome", ReportedRow.Outcome.values, default=ReportedRow.Outcome.REJECTED)


def _reported(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with its first error in the open, where most readers look for the one there is."""
    first = row["errors"][0] if row["errors"] else {}
    return {
        "line_number": row["line_number"],
        "outcome": row["outcome"],
        "column": first.get("column", ""),
        "code": first.get("code", ""),
        "message": first.get("message", ""),
        "errors": row["errors"],
        "cells": row["cells"],
    }


def _plain(file_name: str) -> str:
    """A file's name without its ending and without what a file system or a header may trip over."""
    return re.sub(r"[^\w.\- ]", "_", PurePosixPath(file_name).stem) or "file"
