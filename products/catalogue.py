"""Writing products, other than by an import: each change and its history in one transaction."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from unicodedata import normalize

from django.db import IntegrityError, OperationalError, connection, transaction
from django.db.models import QuerySet, Value
from django.db.models.functions import Lower, Now
from django.db.models.lookups import Exact
from psycopg.errors import LockNotAvailable

from common.errors import ConflictError, FieldError, InvalidInputError, NotFoundError, in_short
from products import events, pushing
from products.importing.columns import COLUMNS, DESCRIPTION, NAME, SKU, STATUS, Layout
from products.importing.rows import ProductRow, RowError
from products.importing.validator import make_validator
from products.models import Import, Product, ProductChange
from products.models.catalogue import EDITABLE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from accounts.models import User

CATALOGUE_LOCK = 0x0DA7A
"""Key of the advisory lock that whoever writes many products holds: one import's merge at a time."""

_has_nul = re.compile(r"(?<!\\)(?:\\\\)*\\u0000").search
"""In the text of JSON: `\\u0000` that is not itself written with a backslash before it."""

MOST_LEVELS = 100
"""Of objects and lists in one another. Python takes some hundred more, but fewer where it is deep in a page of the
admin: what is stored has to be possible to open there, and to mend."""

PASSES = "active"
"""A cell that is right for every column: stands where there is nothing to judge."""


# --- reading -----------------------------------------------------------------------------------


def with_sku(sku: str) -> QuerySet[Product]:
    """The product with this sku, in whatever case it is written."""
    return Product.objects.filter(_is_sku(sku))


def deleted_with_sku(sku: str) -> QuerySet[ProductChange]:
    """The deletions of products with this sku."""
    return ProductChange.objects.filter(_is_sku(sku), action=ProductChange.Action.DELETED)


def _is_sku(sku: str) -> Exact:
    """PostgreSQL lowers both sides, so that the index answers and the two can't disagree about a letter."""
    return Exact(Lower("sku"), Lower(Value(as_sought(sku))))


def as_sought(sku: str) -> str:
    """The sku as the catalogue would spell it, but for upper and lower case."""
    return normalize("NFC", sku).strip().replace("\0", "")


def product_with_sku(sku: str) -> Product:
    """Like `with_sku`. Raises NotFoundError if there is none."""
    product = with_sku(sku).first()
    if product is None:
        raise no_such_product(sku)
    return product


def no_such_product(sku: str) -> NotFoundError:
    return NotFoundError(f"There is no product with the sku {sku!r}.")


# --- what a product may be -----------------------------------------------------------------------


def checked(fields: Mapping[str, Any]) -> dict[str, Any]:
    """These fields of a product as they are stored. Raises InvalidInputError that names all bad ones.

    The rules are those of a file's row, and so is the code: an import with this one row would
    take, refuse and trim the same.
    """
    errors = [FieldError(f"/{name}", *problem) for name, value in fields.items() if (problem := _unstorable(value))]
    if errors:
        raise InvalidInputError(in_short(errors), errors=errors)
    needed = [name for name in (SKU.name, NAME.name, STATUS.name) if name in fields]
    empty = [name for name in needed if not fields[name].strip()]
    errors = [FieldError(f"/{name}", f"{name}_missing", f"The {name} is empty. A product needs one.") for name in empty]
    judged = _judge({**fields, **dict.fromkeys(empty, PASSES)})
    if not isinstance(judged, ProductRow):
        errors += [FieldError(f"/{error.column}", error.code, error.message) for error in judged]
    if errors or not isinstance(judged, ProductRow):
        raise InvalidInputError(in_short(errors), errors=errors)
    clean = judged._asdict() | {DESCRIPTION.name: judged.description or ""}
    del clean["attributes"]  # a request has them as they are
    return {name: clean.get(name, value) for name, value in fields.items()}


def _unstorable(value: Any) -> tuple[str, str] | None:
    """The code and the words of what can't be stored of this value, a text or whatever JSON holds."""
    if _is_deeper(value, MOST_LEVELS):
        return "nested_too_deeply", f"More than {MOST_LEVELS} objects and lists stand in one another. Make it flatter."
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        text.encode()
    except UnicodeEncodeError:
        return "half_surrogate", "A text holds half of a surrogate pair, which is no character (RFC 8259, section 8.2)."
    except ValueError:
        return "number_too_large", "A number is too large to be stored."
    if not isinstance(value, str) and _has_nul(text):
        return "control_character", "A text holds a NUL character, which can't be stored. Remove it."
    return None


def _is_deeper(value: Any, levels: int) -> bool:
    """Whether more objects and lists than that stand in one another."""
    layer = [value]
    for _ in range(levels + 1):
        layer = [
            inner
            for each in layer
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
        if not layer:
            return False
    return True


def _judge(fields: Mapping[str, Any]) -> ProductRow | list[RowError]:
    """What an import would say to a row with these cells."""
    cells = {SKU.name: PASSES, **{column.name: fields[column.name] for column in COLUMNS if column.name in fields}}
    layout = Layout(tuple(cells), {name: position for position, name in enumerate(cells)}, ())
    return make_validator(layout, marked=False)(1, list(cells.values()))


# --- one product -------------------------------------------------------------------------------


def create_product(fields: Mapping[str, Any], *, actor: User | None) -> Product:
    """Add a product. Raises InvalidInputError for a bad value, ConflictError if the sku is taken."""
    fields = checked(fields)
    try:
        with transaction.atomic():
            product = Product.objects.create(**fields)
            _record(product, ProductChange.Action.CREATED, None, actor)
    except IntegrityError as error:
        if "product_sku_unique" not in str(error):
            raise
        raise ConflictError(
            f"There is already a product with the sku {fields['sku']!r}. Upper and lower case count as the same; "
            "change that product, or choose another sku.",
            code="sku_taken",
        ) from None
    return product


@transaction.atomic
def update_product(
    product: Product,
    fields: Mapping[str, Any],
    *,
    actor: User | None,
    version: int | None = None,
    precondition: Callable[[Product], None] | None = None,
) -> Product:
    """Give a product these values and return it as it then is.

    Its version grows only if something really changed. Raises InvalidInputError for a bad value,
    NotFoundError if the product is gone meanwhile, ConflictError if it no longer has the `version` that
    its editor saw, and whatever `precondition` raises when it looks at the stored product.
    """
    fields = checked({name: value for name, value in fields.items() if name in EDITABLE})
    stored = _locked(product)
    if version is not None and stored.version != version:
        raise ConflictError(
            f"{stored.sku} was changed meanwhile: you saw version {version}, it has version {stored.version} now. "
            "Nothing of yours was saved. Look at the new values, then change them again.",
            code="changed_meanwhile",
        )
    if precondition is not None:
        precondition(stored)
    previous = {name: getattr(stored, name) for name in EDITABLE if name in fields}
    previous = {name: value for name, value in previous.items() if _differs(value, fields[name])}
    if not previous:
        return stored
    for name in previous:
        setattr(stored, name, fields[name])
    stored.version += 1
    stored.updated_at = Now()  # the database's clock, read back below
    stored.save(update_fields=[*previous, "version", "updated_at"])
    stored.refresh_from_db(fields=["updated_at"])
    _record(stored, ProductChange.Action.UPDATED, previous, actor)
    return stored


@transaction.atomic
def delete_product(
    product: Product, *, actor: User | None, precondition: Callable[[Product], None] | None = None
) -> None:
    """Take a product out of the catalogue. Its history stays, with all that is needed to bring it back.

    Raises NotFoundError if it is gone meanwhile, and whatever `precondition` raises when it looks at it.
    """
    stored = _locked(product)
    if precondition is not None:
        precondition(stored)
    previous = {name: getattr(stored, name) for name in ("sku", *EDITABLE)}
    previous |= {name: getattr(stored, name).isoformat() for name in ("created_at", "updated_at")}
    product_id = stored.pk
    stored.delete()
    stored.pk = product_id
    stored.version += 1
    _record(stored, ProductChange.Action.DELETED, previous, actor)


def _locked(product: Product) -> Product:
    """The product as it is now, held until the transaction ends."""
    stored = Product.objects.select_for_update().filter(pk=product.pk).first()
    if stored is None:
        raise NotFoundError(f"The product {product.sku!r} was deleted meanwhile.")
    return stored


def _differs(old: object, new: object) -> bool:
    """Whether two values differ as JSON does: Python takes `true` and `1` for the same, and writes `1e22` otherwise
    than PostgreSQL gives it back."""
    return _comparable(old) != _comparable(new)


def _comparable(value: object) -> object:
    """The value, with each number as what it comes to, however it is written."""
    return json.loads(json.dumps(value), parse_int=_number, parse_float=_number)


def _number(text: str) -> tuple[str, Decimal]:
    return "number", Decimal(text)


def _record(
    product: Product, action: ProductChange.Action, previous: dict[str, Any] | None, actor: User | None
) -> None:
    """The history, and the event, of one change."""
    change = ProductChange.objects.create(
        product_id=product.pk,
        sku=product.sku,
        action=action,
        version=product.version,
        previous=previous,
        actor_id=actor.pk if actor else None,
    )
    events.product_changed(product, change, actor)


# --- many products -----------------------------------------------------------------------------

DELETE_MANY = """
WITH gone AS (
    DELETE FROM products_product WHERE id IN ({chosen}) RETURNING *
)
INSERT INTO products_productchange (product_id, sku, action, version, previous, actor_id, import_id)
SELECT id, sku, 'deleted', version + 1, to_jsonb(gone) - 'id' - 'version', %s, %s
  FROM gone
"""

SET_STATUS = """
WITH changed AS (
    UPDATE products_product
       SET status = %s, version = version + 1, updated_at = statement_timestamp()
     WHERE id IN ({chosen}) AND status <> %s
 RETURNING new.id, new.sku, new.version, old.status AS previous_status
)
INSERT INTO products_productchange (product_id, sku, action, version, previous, actor_id, import_id)
SELECT id, sku, 'updated', version, jsonb_build_object('status', previous_status), %s, %s
  FROM changed
"""


def delete_products(products: QuerySet[Product], *, actor: User | None, import_: Import | None = None) -> int:
    """Delete the products of a query set; returns how many. Raises ConflictError while an import merges.
    The history names `import_` where that is what does it."""
    chosen, parameters = _ids_of(products)
    return _write_many(DELETE_MANY.format(chosen=chosen), parameters, actor, import_)


def set_status(products: QuerySet[Product], status: str, *, actor: User | None, import_: Import | None = None) -> int:
    """Give the products of a query set this status; returns how many really changed.
    Raises ConflictError while an import merges. The history names `import_` as above."""
    status = Product.Status(status)
    chosen, parameters = _ids_of(products)
    return _write_many(SET_STATUS.format(chosen=chosen), [status, *parameters, status], actor, import_)


def _ids_of(products: QuerySet[Product]) -> tuple[str, tuple[Any, ...]]:
    return products.order_by().values("pk").query.sql_with_params()


def _write_many(statement: str, parameters: Iterable[Any], actor: User | None, import_: Import | None) -> int:
    """Returns how many products changed. Those who want to know are told, or will be by the import when it ends."""
    with transaction.atomic(), own_catalogue(), connection.cursor() as cursor:
        before = pushing.last_change()
        who = (actor.pk if actor else None, import_.pk if import_ else None)
        cursor.execute(statement, [*parameters, *who])
        changed = int(cursor.rowcount)
        if import_ is None:
            pushing.request(None, actor, after=before, total=changed)
        return changed


@contextmanager
def own_catalogue() -> Iterator[None]:
    """Hold the catalogue's lock to the end of the transaction. The session's lock_timeout bounds the wait."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [CATALOGUE_LOCK])
    except OperationalError as error:
        if not isinstance(error.__cause__, LockNotAvailable):
            raise
        raise ConflictError(
            "An import is being written to the catalogue. Try again when it has finished.",
            code="catalogue_busy",
            retry_after=5,
        ) from None
    yield
