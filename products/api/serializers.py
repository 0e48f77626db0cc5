"""The shapes of what goes in and out, for the schema and for the types of what comes in.

The rules about values (which sku is one, how long a name may be) are not here: `products.catalogue`
holds every path to them.
"""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from common.errors import FieldError, InvalidInputError
from products.importing.columns import DESCRIPTION, MAX_COLUMNS, NAME, SKU
from products.importing.lines import MAX_FIELD
from products.models import Import, Product, ReportedRow

READ_ONLY = frozenset({"version", "created_at", "updated_at"})
"""Fields of an answer that may be sent back with it and are then overlooked."""


class TextField(serializers.CharField):
    """Any text as it is sent. The catalogue refuses what is empty, in its own words."""

    def __init__(self, **options: Any) -> None:
        super().__init__(trim_whitespace=False, **options)

    def run_validation(self, data: Any = serializers.empty) -> Any:
        return "" if data == "" else super().run_validation(data)


@extend_schema_field({"type": "string", "minLength": 1, "maxLength": SKU.limit})
class SkuField(TextField):
    """Text; its rules are the catalogue's."""


@extend_schema_field({"type": "string", "minLength": 1, "maxLength": NAME.limit})
class NameField(TextField):
    """Text; its rules are the catalogue's."""


@extend_schema_field({"type": "string", "maxLength": DESCRIPTION.limit})
class DescriptionField(TextField):
    """Text; its rules are the catalogue's."""


@extend_schema_field({"type": "string", "enum": Product.Status.values})
class StatusField(TextField):
    """Text; which words are known is the catalogue's rule."""


class ProductDocument(serializers.Serializer):
    """A product."""

    sku = SkuField(help_text="Names the product; upper and lower case count as the same.")
    name = NameField()
    description = DescriptionField()
    status = StatusField(help_text="Only active products are for sale.")
    attributes = serializers.DictField(help_text="Whatever else is known of the product.")
    version = serializers.IntegerField(help_text="Grows by 1 with each change.")
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class ProductFields(serializers.Serializer):
    """The fields of a product that a request may give."""

    sku = SkuField(required=False, help_text="May be left out; if given, it has to be the product's.")
    name = NameField()
    description = DescriptionField(required=False, allow_blank=True)
    status = StatusField(required=False)
    attributes = serializers.DictField(required=False)

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if isinstance(data, dict):
            refuse_unknown_fields(data, {*self.fields, *READ_ONLY})
        fields: dict[str, Any] = super().to_internal_value(data)
        return fields


class NewProduct(ProductFields):
    """A product to create."""

    sku = SkuField(help_text="Names the product; upper and lower case count as the same.")


class ProductPatch(ProductFields):
    """The fields of a product to change; what is left out stays."""

    name = NameField(required=False)


def refuse_unknown_fields(data: dict[str, Any], known: set[str]) -> None:
    """Raise InvalidInputError for fields that nobody would read."""
    errors = [
        FieldError(
            f"/{str(name).replace('~', '~0').replace('/', '~1')}", "unknown_field", "A product has no such field."
        )
        for name in data
        if name not in known
    ]
    if errors:
        raise InvalidInputError(
            "The body has fields that a product does not have.", code="unknown_field", errors=errors
        )


class ImportFailure(serializers.Serializer):
    """Why an import failed."""

    code = serializers.CharField()
    message = serializers.CharField()


class ImportLinks(serializers.Serializer):
    """Where to go from here: paths of the web server, `socket` of the live server."""

    self = serializers.CharField()
    cancel = serializers.CharField()
    apply = serializers.CharField(help_text="For a checked file: apply what was shown.")
    undo = serializers.CharField(help_text="For what was applied: take it back.")
    changes = serializers.CharField(help_text="What it would change or has changed, product by product.")
    rejects = serializers.CharField()
    rejects_csv = serializers.CharField()
    file = serializers.CharField(allow_null=True, help_text="The file as it was uploaded.")
    page = serializers.CharField()
    socket = serializers.CharField()


class FormatDocument(serializers.Serializer):
    """How the file is read: what its uploader said, and what was found."""

    declared = serializers.DictField()
    detected = serializers.DictField()


class ImportDocument(serializers.Serializer):
    """All there is to know of an import: `products.progress.ImportDocument`, for the schema."""

    id = serializers.UUIDField()
    task_id = serializers.UUIDField(help_text="The same as `id`.")
    version = serializers.IntegerField(help_text="Grows with each snapshot: drop one that is older than what you have.")
    state = serializers.ChoiceField(Import.State.choices)
    phase = serializers.ChoiceField(Import.Phase.choices)
    percent = serializers.FloatField(min_value=0, max_value=100)
    rows_read = serializers.IntegerField(help_text="The sum of the six that follow, once it has finished.")
    rows_created = serializers.IntegerField()
    rows_updated = serializers.IntegerField()
    rows_unchanged = serializers.IntegerField()
    rows_rejected = serializers.IntegerField()
    rows_duplicate = serializers.IntegerField(help_text="Rows whose sku stands in another line, which counts.")
    rows_deleted = serializers.IntegerField(help_text="Products that an undo or a bulk change removed.")
    rows_repaired = serializers.IntegerField(help_text="Rows applied after a repair beyond doubt; not in the sum.")
    products_deactivated = serializers.IntegerField(help_text="In mode sync: products that the file lacks.")
    bytes_read = serializers.IntegerField()
    bytes_total = serializers.IntegerField()
    rows_per_second = serializers.IntegerField()
    eta_seconds = serializers.IntegerField(allow_null=True)
    heartbeat_at = serializers.DateTimeField(allow_null=True)
    stalled = serializers.BooleanField(help_text="It runs, but its worker has not been heard of for 10 seconds.")
    error = ImportFailure(allow_null=True)
    cancel_requested = serializers.BooleanField()
    attempt = serializers.IntegerField()
    kind = serializers.ChoiceField(Import.Kind.choices)
    file_name = serializers.CharField()
    sha256 = serializers.CharField(help_text="Of the file as it was uploaded; empty where there is none.")
    mode = serializers.ChoiceField(Import.Mode.choices)
    on_error = serializers.ChoiceField(Import.OnError.choices)
    max_rejects = serializers.CharField()
    duplicates = serializers.ChoiceField(Import.Duplicates.choices)
    empty_cells = serializers.ChoiceField(Import.EmptyCells.choices)
    max_deactivated = serializers.CharField(help_text="In mode sync.")
    check_first = serializers.BooleanField(help_text="It stops when checked, and waits for the word to apply.")
    mapping = serializers.DictField(child=serializers.CharField(allow_blank=True))
    format = FormatDocument()
    header = serializers.ListField(child=serializers.CharField(allow_blank=True))
    ignored_columns = serializers.ListField(child=serializers.CharField())
    checked_at = serializers.DateTimeField(allow_null=True)
    expires_at = serializers.DateTimeField(allow_null=True, help_text="When an undecided check is given up.")
    stale = serializers.BooleanField(help_text="It was checked again, since the catalogue had changed meanwhile.")
    undoes = serializers.UUIDField(allow_null=True)
    undone_by = serializers.UUIDField(allow_null=True)
    undoable = serializers.BooleanField()
    created_by = serializers.CharField(allow_null=True)
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)
    links = ImportLinks()


class SameFile(serializers.Serializer):
    """An earlier import of a file with the same bytes."""

    id = serializers.UUIDField()
    file_name = serializers.CharField()
    finished_at = serializers.DateTimeField()
    created_by = serializers.CharField(allow_null=True)


class ImportDetail(ImportDocument):
    """An import, and whether its file was imported before."""

    same_as = SameFile(
        allow_null=True,
        help_text="The last import of the same bytes that was applied, is not undone and is yours to see.",
    )


class ApplyOptions(serializers.Serializer):
    """What may be said when a checked import is applied."""

    max_deactivated = serializers.CharField(
        required=False, help_text="In mode `sync`: replaces the limit, as in `25%` or `none`."
    )


class FileHeaders(serializers.Serializer):
    """The header row of a file."""

    headers = serializers.ListField(
        child=serializers.CharField(allow_blank=True, trim_whitespace=False, max_length=MAX_FIELD),
        max_length=MAX_COLUMNS,
        help_text="As they stand in the file, in its order.",
    )


class MappingDocument(serializers.Serializer):
    """Where the columns of a file go unless its uploader says otherwise."""

    mapping = serializers.DictField(
        child=serializers.CharField(allow_blank=True),
        help_text="Each header: a column, `attributes.NAME`, or empty for one that is left out.",
    )
    remembered = serializers.BooleanField(help_text="Whether an earlier file with the same headers was mapped so.")


class RowProblem(serializers.Serializer):
    """One thing wrong with one row of a file."""

    column = serializers.CharField(help_text="Empty: the row as a whole.")
    code = serializers.CharField()
    message = serializers.CharField()


class ReportedRowDocument(serializers.Serializer):
    """A row of the file that was not applied. `column`, `code` and `message` are those of its first error."""

    line_number = serializers.IntegerField(help_text="As an editor shows it; the header is on line 1.")
    outcome = serializers.ChoiceField(ReportedRow.Outcome.choices)
    column = serializers.CharField()
    code = serializers.CharField()
    message = serializers.CharField()
    errors = RowProblem(many=True)  # type: ignore[assignment]  # a field, not the property
    cells = serializers.ListField(child=serializers.CharField(), help_text="The row as it stands in the file.")
