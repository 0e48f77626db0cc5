"""Which products are meant: one reading of the filters that lists, exports and changes of many share."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from functools import reduce
from operator import or_
from typing import Any
from unicodedata import normalize
from urllib.parse import urlencode

from django.db.models import CharField, Q, QuerySet, Value
from django.db.models.functions import Lower
from django.db.models.lookups import IContains
from django.utils.dateparse import parse_date

from common.errors import InvalidInputError
from products.models import Import, Product, ProductChange


@CharField.register_lookup
class HasText(IContains):
    """ILIKE. PostgreSQL's statistics tell how many rows have a text, and so how best to find a page of them;
    of `UPPER(..) LIKE`, which Django writes, it can only guess."""

    lookup_name = "has_text"

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        column, parameters = compiler.compile(self.lhs)
        pattern, more = self.process_rhs(compiler, connection)
        return f"{column} ILIKE {pattern}", (*parameters, *more)


ATTRIBUTE = "attributes."
"""What a filter by an attribute begins with in an address."""


@dataclass(frozen=True)
class Selection:
    """Filters that all have to be met. Empty ones select everything."""

    status: str = ""
    search: str = ""
    """Words, each of them in the sku or the name, whatever their case."""
    import_id: str = ""
    """Of the import that changed them."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    sku: str = ""
    """The beginning of the sku, whatever its case; an index answers."""
    changed_since: str = ""
    """A day, as 2026-11-25: created or changed since it began, in UTC."""
    ids: tuple[int, ...] = ()
    """These products alone. Nobody can ask for it by an address."""

    @classmethod
    def parse(cls, parameters: Mapping[str, str]) -> Selection:
        """From the parameters of an address. Others than filters are passed over. Raises InvalidInputError."""
        status = parameters.get("status", "")
        if status and status not in Product.Status.values:
            raise InvalidInputError.about(
                "status", f"status can't be {status!r}. Use one of: {', '.join(Product.Status.values)}."
            )
        import_id = parameters.get("import", "")
        if import_id and not _is_uuid(import_id):
            raise InvalidInputError.about("import", f"import={import_id[:40]!r} is no id of an import.")
        attributes = {
            name.removeprefix(ATTRIBUTE): text for name, text in parameters.items() if name.startswith(ATTRIBUTE)
        }
        search, sku = (parameters.get(name, "").replace("\0", "").strip() for name in ("search", "sku"))
        since = parameters.get("changed_since", "")
        if since and not _is_day(since):
            raise InvalidInputError.about(
                "changed_since", f"changed_since={since[:40]!r} is no day. Write it as 2026-11-25."
            )
        return cls(status, search, import_id, attributes, sku, since)

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Selection:
        """What `as_dict` gave."""
        return cls(**{**stored, "ids": tuple(stored.get("ids", ()))})

    def as_dict(self) -> dict[str, Any]:
        return {
            "status": self.status,
            "search": self.search,
            "import_id": self.import_id,
            "attributes": dict(self.attributes),
            "sku": self.sku,
            "changed_since": self.changed_since,
            "ids": list(self.ids),
        }

    def as_query(self) -> str:
        """The same as the parameters of an address: what `parse` reads. Without `ids`, for which there are none."""
        named = {
            "status": self.status,
            "sku": self.sku,
            "search": self.search,
            "import": self.import_id,
            "changed_since": self.changed_since,
            **{f"{ATTRIBUTE}{name}": value for name, value in self.attributes.items()},
        }
        return urlencode({name: value for name, value in named.items() if value})

    @property
    def reads_names_or_times(self) -> bool:
        """Whether it asks for what no index has, so that products are read to find the few that match."""
        return bool(self.search or self.changed_since)

    def words(self) -> list[str]:
        """What it selects, in words for people. Empty where it selects everything."""
        told = [
            self.ids and f"{len(self.ids)} chosen ones",
            self.status and f"status {self.status}",
            self.sku and f"sku begins with “{self.sku}”",
            self.search and f"“{self.search}” in sku or name",
            *(f"{name} is “{value}”" for name, value in self.attributes.items()),
            self.changed_since and f"changed since {self.changed_since}",
            self.import_id and "changed by one import",
        ]
        return [text for text in told if text]

    def products(self) -> QuerySet[Product]:
        found = Product.objects.all()
        if self.status:
            found = found.filter(status=self.status)
        if self.ids:
            found = found.filter(pk__in=self.ids)
        if self.sku:
            # PostgreSQL lowers both sides: Python does it otherwise where a word ends in Σ.
            beginning = Lower(Value(normalize("NFC", self.sku)))
            found = found.alias(lower_sku=Lower("sku")).filter(lower_sku__startswith=beginning)
        for word in self.search.split():
            found = found.filter(Q(sku__has_text=word) | Q(name__has_text=word))
        if self.changed_since:
            found = found.filter(updated_at__gte=_beginning_of(self.changed_since))
        if self.attributes:
            # The second half is for the planner: the index has only products with attributes.
            for name, text in self.attributes.items():
                found = found.filter(reduce(or_, (Q(attributes__contains={name: each}) for each in _readings(text))))
            found = found.exclude(attributes={})
        if self.import_id:
            found = found.filter(pk__in=changed_by(self.import_id))
        return found


def changed_by(import_id: str) -> QuerySet[ProductChange, int]:
    """Ids of the products that an import changed. Its place in the history is known, so that this is quick."""
    import_ = Import.objects.filter(pk=import_id).first()
    if import_ is None or import_.changes_until is None:
        # Not `none()`, of which Django makes no SQL: an export and an estimate are made of it.
        return ProductChange.objects.filter(id__lte=0).values_list("product_id", flat=True)
    return ProductChange.objects.filter(
        id__gt=import_.changes_after, id__lte=import_.changes_until, import_id=import_.pk
    ).values_list("product_id", flat=True)


def _readings(text: str) -> list[Any]:
    """The values that are meant by one in an address: the text, and what it is as a number, true or false."""
    return [text, json.loads(text)] if _PLAIN_JSON.fullmatch(text) else [text]


_PLAIN_JSON = re.compile(r"true|false|-?(0|[1-9][0-9]{0,99})(\.[0-9]{1,99})?([eE][+-]?[0-9]{1,2})?")


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


def _is_day(text: str) -> bool:
    try:
        return len(text) == len("2026-11-25") and parse_date(text) is not None
    except ValueError:
        return False


def _beginning_of(day: str) -> datetime:
    parsed = parse_date(day)
    assert parsed is not None, day  # noqa: S101 - `parse` lets nothing else in
    return datetime.combine(parsed, time.min, UTC)
