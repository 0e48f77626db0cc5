"""`/api/v1/products/export.csv` and `.xlsx`: the catalogue, or what filters leave of it, as a file.

The file is made before the answer begins, on disk and not in memory. Then its length is known, a slow client
holds no transaction open, and whatever goes wrong is an error answer. Sent while it is made, a file that the
database breaks off would look whole: the web server ends a body whose making fails like any other.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import IO, Any

from django.conf import settings
from django.http import FileResponse
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.viewsets import GenericViewSet

from accounts import audit
from accounts.models import Scope
from common.openapi import problems
from common.parameters import refuse_empty
from products.api.products import FILTERS, NEVER_EMPTY
from products.api.rejects import CsvRenderer
from products.exporting import COLUMNS, PIECE, STANDARD, Export, Formulas, write_csv, write_workbook
from products.models import Product

XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
LONGEST_NOTED = 200
"""Characters of a parameter that the audit log keeps."""
_COLUMN = f" *({'|'.join(COLUMNS)}) *"
CHOSEN_COLUMNS = OpenApiParameter(
    "columns",
    {"type": "string", "pattern": rf"^(?!.*\b(\w+)\b.*\b\1\b){_COLUMN}(,{_COLUMN})*$"},
    default=",".join(STANDARD),
    description=f"The columns in their order: {', '.join(COLUMNS)}. `attributes` is a column for each attribute.",
)
OF_CSV = [
    OpenApiParameter(
        "formulas",
        OpenApiTypes.STR,
        enum=Formulas.values,
        default=str(Formulas.SAFE),
        description="`safe`: cells that a spreadsheet would take for formulas get an apostrophe; an import removes it.",
    ),
    OpenApiParameter("bom", OpenApiTypes.BOOL, default=True, description="Begin with a byte order mark, for Excel."),
]


class XlsxRenderer(BaseRenderer):
    """Says that there is a workbook to be had; the view makes it itself."""

    media_type = XLSX
    format = "xlsx"

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> Any:
        return data


NO_FORMAT = OpenApiParameter("format", exclude=True)
"""The address says which; drf-spectacular would add the parameter."""


@extend_schema(tags=["products"])
class ExportViewSet(GenericViewSet):
    queryset = Product.objects.all()
    pagination_class = None
    required_scopes = {"csv": {Scope.READ}, "xlsx": {Scope.READ}}

    def get_renderers(self) -> list[BaseRenderer]:
        # By the address and not the action: a method that is not taken here has none, and is to be told so.
        csv = "csv" in self.action_map.values()
        return [CsvRenderer() if csv else XlsxRenderer(), *super().get_renderers()]

    @extend_schema(
        operation_id="products_export_csv",
        summary="Export products as a CSV file",
        description="In the order in which they were created. Importing the file again changes nothing.",
        parameters=[*FILTERS, CHOSEN_COLUMNS, *OF_CSV, NO_FORMAT],
        responses={(200, "text/csv"): OpenApiTypes.STR, **problems(507)},
    )
    def csv(self, request: Request) -> FileResponse:
        export = _asked_for(request)
        return _file(request, lambda file: write_csv(export, file), "csv", "text/csv; charset=utf-8")

    @extend_schema(
        operation_id="products_export_xlsx",
        summary="Export products as an Excel workbook",
        description="One sheet of text cells, of at most 1,048,575 products.",
        parameters=[*FILTERS, CHOSEN_COLUMNS, NO_FORMAT],
        responses={(200, XLSX): OpenApiTypes.BINARY, **problems(507)},
    )
    def xlsx(self, request: Request) -> FileResponse:
        export = _asked_for(request)
        return _file(request, lambda file: write_workbook(export, file), "xlsx", XLSX)


def _asked_for(request: Request) -> Export:
    refuse_empty(request, [*NEVER_EMPTY, "columns", "formulas", "bom"])
    return Export.parse(request.query_params.dict())


def _file(request: Request, write: Callable[[IO[bytes]], None], ending: str, content_type: str) -> FileResponse:
    """What `write` writes, to be saved. The file has no name on disk: it goes with the answer, however that ends."""
    file = tempfile.TemporaryFile(dir=settings.FILE_UPLOAD_TEMP_DIR)  # noqa: SIM115 - the answer closes it
    try:
        write(file)
        file.seek(0)
        asked = {name: value[:LONGEST_NOTED] for name, value in request.query_params.items()}
        audit.record_request(request._request, "products.exported", format=ending, asked=asked)
    except BaseException:
        file.close()
        raise
    name = f"products-{timezone.now():%Y-%m-%d}.{ending}"
    response = FileResponse(file, as_attachment=True, filename=name, content_type=content_type)
    response.block_size = PIECE
    return response
