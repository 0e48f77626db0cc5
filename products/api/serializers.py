"""The shapes of what goes in and out, for the schema and for the types of what comes in.

The rules about values (which sku is one, how long a name may be) are not here: `products.catalogue`
holds every path to them.
"""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from common.fields import Body, Text
from common.openapi import NO_NUL, example
from products.importing.columns import DESCRIPTION, MAX_COLUMNS, NAME, SKU, UNSEEN
from products.importing.lines import MAX_FIELD
from products.importing.options import LIMIT
from products.models import Import, Product, ReportedRow

_SPACE = r"\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_CONTROL = r"\x00-\x1f\x7f-\x9f"


def line(longest: int, *, but: str = "") -> str:
    """Pattern of a text of 1 to so many characters, none of them a control character or one of those in `but`. Spaces
    around it, which are taken off, do not count; they are those that `str.strip` knows."""
    inside = f"[^{_CONTROL}{but}]"
    edge = f"[^{_SPACE}{_CONTROL}{but}]"
    return f"^[{_SPACE}]*{edge}({inside}{{0,{longest - 2}}}{edge})?[{_SPACE}]*$"


PARAGRAPHS = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]*$"
"""Pattern of a text that may have tabs and line ends, but no other control characters."""

READ_ONLY = frozenset({"version", "created_at", "updated_at"})
"""Fields of an answer that may be sent back with it and are then overlooked."""


class TextField(serializers.CharField):
    """Any text as it is sent. The catalogue refuses what is empty, in its own words."""

    def __init__(self, **options: Any) -> None:
        super().__init__(trim_whitespace=False, **options)

    def run_validation(self, data: Any = serializers.empty) -> Any:
        if not isinstance(data, str) and data is not None and data is not serializers.empty:
            self.fail("invalid")  # a number is not quietly taken for its digits
        return "" if data == "" else super().run_validation(data)


@extend_schema_field({"type": "string", "minLength": 1, "pattern": line(SKU.limit, but=UNSEEN)})
class SkuField(TextField):
    """Text; its rules are the catalogue's."""


@extend_schema_field({"type": "string", "minLength": 1, "pattern": line(NAME.limit)})
class NameField(TextField):
    """Text; its rules are the catalogue's."""


@extend_schema_field({"type": "string", "maxLength": DESCRIPTION.limit, "pattern": PARAGRAPHS})
class DescriptionField(TextField):
    """Text; its rules are the catalogue's."""


@extend_schema_field({"type": "string", "enum": Product.Status.values})
class StatusField(TextField):
    """Text; which words are known is the catalogue's rule."""


@extend_schema_field({"type": "object", "additionalProperties": {}, "propertyNames": {"pattern": NO_NUL}})
class AttributesField(serializers.DictField):
    """Any object; what PostgreSQL can't store of it, the catalogue refuses."""


class ProductDocument(serializers.Serializer):
    """A product."""

    sku = SkuField(
        help_text=f"Names the product, in up to {SKU.limit} characters; upper and lower case count as the same."
    )
    name = NameField(help_text=f"What people call the product, in up to {NAME.limit} characters.")
    description = DescriptionField(help_text="Text of any length up to the limit; may be empty.")
    status = StatusField(help_text="Only active products are for sale.")
    attributes = serializers.DictField(help_text="Whatever else is known of the product.")
    version = serializers.IntegerField(help_text="Grows by 1 with each change.")
    created_at = serializers.DateTimeField(help_text="When the product was created, in UTC.")
    updated_at = serializers.DateTimeField(help_text="When the product last changed, in UTC.")


class ShownProduct(ProductDocument):
    """A product, or those of its fields that `fields` asks for."""

    def get_fields(self) -> dict[str, serializers.Field]:
        fields: dict[str, serializers.Field] = super().get_fields()
        for name in fields.keys() - {"sku"}:
            fields[name].required = False
        return fields


@example("A lamp", {"name": "Oak lamp", "description": "A lamp, of oak", "attributes": {"colour": "brown"}})
class ProductFields(Body):
    """The fields of a product that a request may give."""

    passed_over = READ_ONLY

    sku = SkuField(required=False, help_text="May be left out; if given, it has to be the product's.")
    name = NameField(help_text=f"What people call the product, in up to {NAME.limit} characters.")
    description = DescriptionField(
        required=False, allow_blank=True, help_text="Text of any length up to the limit; may be empty."
    )
    status = StatusField(required=False, help_text="Only active products are for sale.")
    attributes = AttributesField(required=False, help_text="Whatever else is known of the product: names and values.")


@example("A new lamp", {"sku": "LAMP-2", "name": "Ash lamp", "status": "active", "attributes": {"colour": "white"}})
class NewProduct(ProductFields):
    """A product to create."""

    sku = SkuField(
        help_text=f"Names the product, in up to {SKU.limit} characters; upper and lower case count as the same."
    )


@example("Another name", {"name": "Lamp of oak"})
class ProductPatch(ProductFields):
    """The fields of a product to change; what is left out stays."""

    name = NameField(required=False, help_text=f"What people call the product, in up to {NAME.limit} characters.")


class ImportFailure(serializers.Serializer):
    """Why an import failed."""

    code = serializers.CharField(help_text="Stable name of the reason.")
    message = serializers.CharField(help_text="The reason, and how to put it right.")


class ImportLinks(serializers.Serializer):
    """Where to go from here: paths of the web server, `socket` of the live server."""

    self = serializers.CharField(help_text="This import.")
    cancel = serializers.CharField(help_text="POST here to stop it or to discard a check.")
    apply = serializers.CharField(help_text="For a checked file: apply what was shown.")
    undo = serializers.CharField(help_text="For what was applied: take it back.")
    changes = serializers.CharField(help_text="What it would change or has changed, product by product.")
    rejects = serializers.CharField(help_text="The rows that were not applied.")
    rejects_csv = serializers.CharField(help_text="The same as a file to correct and send again.")
    file = serializers.CharField(allow_null=True, help_text="The file as it was uploaded.")
    page = serializers.CharField(help_text="The page for people.")
    socket = serializers.CharField(help_text="The WebSocket that sends each snapshot.")


class FormatDocument(serializers.Serializer):
    """How the file is read: what its uploader said, and what was found."""

    declared = serializers.DictField(help_text="What the uploader said of the encoding, delimiter and so on.")
    detected = serializers.DictField(help_text="What was found in the file.")


class ImportDocument(serializers.Serializer):
    """All there is to know of an import."""

    id = serializers.UUIDField(help_text="Names the import.")
    task_id = serializers.UUIDField(help_text="The same as `id`.")
    version = serializers.IntegerField(help_text="Grows with each snapshot: drop one that is older than what you have.")
    state = serializers.ChoiceField(
        Import.State.choices, help_text="Where it is in its life; the last of them are final."
    )
    phase = serializers.ChoiceField(Import.Phase.choices, help_text="What the worker is doing while it runs.")
    percent = serializers.FloatField(
        min_value=0, max_value=100, help_text="How far it is in all; 100 once it has ended well, or is checked."
    )
    rows_read = serializers.IntegerField(help_text="The sum of the six that follow, once it has finished.")
    rows_created = serializers.IntegerField(help_text="Rows that created a product.")
    rows_updated = serializers.IntegerField(help_text="Rows that changed a product.")
    rows_unchanged = serializers.IntegerField(help_text="Rows that say what the catalogue said already.")
    rows_rejected = serializers.IntegerField(help_text="Rows with errors; `links.rejects` lists them.")
    rows_duplicate = serializers.IntegerField(help_text="Rows whose sku stands in another line, which counts.")
    rows_deleted = serializers.IntegerField(help_text="Products that an undo or a bulk change removed.")
    rows_repaired = serializers.IntegerField(help_text="Rows applied after a repair beyond doubt; not in the sum.")
    products_deactivated = serializers.IntegerField(help_text="In mode sync: products that the file lacks.")
    bytes_read = serializers.IntegerField(help_text="Bytes of the file that have been read.")
    bytes_total = serializers.IntegerField(help_text="Bytes that the file has.")
    rows_per_second = serializers.IntegerField(help_text="Rows read in a second since this attempt began.")
    eta_seconds = serializers.IntegerField(
        allow_null=True, help_text="Seconds that it will probably take from now; null if not known."
    )
    heartbeat_at = serializers.DateTimeField(allow_null=True, help_text="When its worker was last heard of.")
    stalled = serializers.BooleanField(help_text="It runs, but its worker has not been heard of for 10 seconds.")
    error = ImportFailure(allow_null=True, help_text="Why it failed; null if it has not.")
    cancel_requested = serializers.BooleanField(help_text="Somebody has asked for it to stop.")
    attempt = serializers.IntegerField(help_text="How often it was taken up; more than once if a worker died.")
    kind = serializers.ChoiceField(Import.Kind.choices, help_text="A file, an undo or a bulk change.")
    file_name = serializers.CharField(help_text="What its uploader calls the file.")
    sha256 = serializers.CharField(help_text="Of the file as it was uploaded; empty where there is none.")
    mode = serializers.ChoiceField(
        Import.Mode.choices, help_text="What the file may do: create, update, both, or mirror the catalogue."
    )
    on_error = serializers.ChoiceField(
        Import.OnError.choices, help_text="What a bad row does: be left out, or stop the import."
    )
    max_rejects = serializers.CharField(help_text="How many bad rows stop it: a number, a share, or both.")
    duplicates = serializers.ChoiceField(
        Import.Duplicates.choices, help_text="Which row counts where a sku stands in several."
    )
    empty_cells = serializers.ChoiceField(
        Import.EmptyCells.choices, help_text="What an empty cell does to a product that exists."
    )
    max_deactivated = serializers.CharField(help_text="In mode sync.")
    check_first = serializers.BooleanField(help_text="It stops when checked, and waits for the word to apply.")
    mapping = serializers.DictField(
        child=serializers.CharField(allow_blank=True), help_text="Where each column went: header to column."
    )
    format = FormatDocument(help_text="How the file is read.")
    header = serializers.ListField(
        child=serializers.CharField(allow_blank=True), help_text="The names of the columns, as they stand in the file."
    )
    ignored_columns = serializers.ListField(
        child=serializers.CharField(), help_text="Columns that no part of a product comes from."
    )
    checked_at = serializers.DateTimeField(allow_null=True, help_text="When its check was finished.")
    expires_at = serializers.DateTimeField(allow_null=True, help_text="When an undecided check is given up.")
    stale = serializers.BooleanField(help_text="It was checked again, since the catalogue had changed meanwhile.")
    undoes = serializers.UUIDField(allow_null=True, help_text="The import that this one takes back.")
    undone_by = serializers.UUIDField(allow_null=True, help_text="The import that has taken this one back.")
    undoable = serializers.BooleanField(help_text="Whether `links.undo` would be accepted now.")
    created_by = serializers.CharField(
        allow_null=True, help_text="Username of who started it; null for nobody, or nobody any more."
    )
    created_at = serializers.DateTimeField(help_text="When it was accepted, in UTC.")
    started_at = serializers.DateTimeField(allow_null=True, help_text="When a worker took it up, the last time.")
    finished_at = serializers.DateTimeField(allow_null=True, help_text="When it ended, however it ended.")
    links = ImportLinks(help_text="Where to go from here.")


class SameFile(serializers.Serializer):
    """An earlier import of a file with the same bytes."""

    id = serializers.UUIDField(help_text="Names the earlier import.")
    file_name = serializers.CharField(help_text="What its uploader called it.")
    finished_at = serializers.DateTimeField(help_text="When it was applied.")
    created_by = serializers.CharField(allow_null=True, help_text="Username of who started it.")


class ImportDetail(ImportDocument):
    """An import, and whether its file was imported before."""

    same_as = SameFile(
        allow_null=True,
        help_text="The last import of the same bytes that was applied, is not undone and is yours to see.",
    )


@extend_schema_field({"type": "string", "pattern": f"^{LIMIT}$"})
class LimitField(Text):
    """Text; `Limit.parse` reads it."""


@example("Another limit", {"max_deactivated": "25%"})
class ApplyOptions(Body):
    """What may be said when a checked import is applied."""

    max_deactivated = LimitField(required=False, help_text="In mode `sync`: replaces the limit, as in `25%` or `none`.")


@example("A header row", {"headers": ["sku", "Bezeichnung", "Farbe"]})
class FileHeaders(Body):
    """The header row of a file."""

    headers = serializers.ListField(
        child=TextField(allow_blank=True, max_length=MAX_FIELD),
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
    code = serializers.CharField(help_text="Stable name of the rule that was broken.")
    message = serializers.CharField(help_text="What is wrong, and how to put it right.")


class ReportedRowDocument(serializers.Serializer):
    """A row of the file that was not applied. `column`, `code` and `message` are those of its first error."""

    line_number = serializers.IntegerField(help_text="As an editor shows it; the header is on line 1.")
    outcome = serializers.ChoiceField(ReportedRow.Outcome.choices, help_text="What became of the row.")
    column = serializers.CharField(help_text="Of the first error; empty: the row as a whole.")
    code = serializers.CharField(help_text="Of the first error.")
    message = serializers.CharField(help_text="Of the first error.")
    errors = RowProblem(many=True, help_text="All that is wrong with the row.")  # type: ignore[assignment]  # a field, not the property
    cells = serializers.ListField(child=serializers.CharField(), help_text="The row as it stands in the file.")
