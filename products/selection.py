"""Which products are meant: one reading of the filters that lists, exports and changes of many share."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Q, QuerySet

from common.errors import FieldError, InvalidInputError
from products.models import Import, Product, ProductChange

ATTRIBUTE = "attributes."
NAMES = ("status", "search", "import")
"""Filters by their names in an address; beside them there is `attributes.NAME`."""


@dataclass(frozen=True)
class Selection:
    """Filters that all have to be met. Empty ones select everything."""

    status: str = ""
    search: str = ""
    """Text in the sku or the name, whatever its case."""
    import_id: str = ""
    """Of the import that changed them."""
    attributes: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, parameters: Mapping[str, str]) -> Selection:
        """From the parameters of an address. Others than filters are passed over. Raises InvalidInputError."""
        status = parameters.get("status", "")
        if status and status not in Product.Status.values:
            raise _invalid("status", f"status can't be {status!r}. Use one of: {', '.join(Product.Status.values)}.")
        import_id = parameters.get("import", "")
        if import_id and not _is_uuid(import_id):
            raise _invalid("import", f"import={import_id[:40]!r} is no id of an import.")
        attributes = {
            name.removeprefix(ATTRIBUTE): text for name, text in parameters.items() if name.startswith(ATTRIBUTE)
        }
        search = parameters.get("search", "").replace("\0", "").strip()
        return cls(status, search, import_id, attributes)

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Selection:
        """What `as_dict` gave."""
        return cls(**stored)

    def as_dict(self) -> dict[str, Any]:
        return {
            "status": self.status,
            "search": self.search,
            "import_id": self.import_id,
            "attributes": dict(self.attributes),
        }

    def products(self) -> QuerySet[Product]:
        found = Product.objects.all()
        if self.status:
            found = found.filter(status=self.status)
        if self.search:
            found = found.filter(Q(sku__icontains=self.search) | Q(name__icontains=self.search))
        if self.attributes:
            # The second half is for the planner: the index has only products with attributes.
            found = found.filter(attributes__contains=dict(self.attributes)).exclude(attributes={})
        if self.import_id:
            found = found.filter(pk__in=changed_by(self.import_id))
        return found


def changed_by(import_id: str) -> QuerySet[ProductChange, int]:
    """Ids of the products that an import changed. Its place in the history is known, so that this is quick."""
    import_ = Import.objects.filter(pk=import_id).first()
    if import_ is None or import_.changes_until is None:
        return ProductChange.objects.none().values_list("product_id", flat=True)
    return ProductChange.objects.filter(
        id__gt=import_.changes_after, id__lte=import_.changes_until, import_id=import_.pk
    ).values_list("product_id", flat=True)


def is_filter(name: str) -> bool:
    """Whether a parameter of this name is one that `Selection.parse` reads."""
    return name in NAMES or (name.startswith(ATTRIBUTE) and len(name) > len(ATTRIBUTE))


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


def _invalid(name: str, message: str) -> InvalidInputError:
    return InvalidInputError(message, errors=[FieldError(f"/{name}", "invalid_choice", message)])
