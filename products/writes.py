"""Many products written in one go, each for itself or all or none: what a program sends that has a list of changes.

The catalogue is taken and written as by an import: by statements for all items, with the history and the word to those
who want `products.changed` in the same transaction.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, connection, models, transaction

from common.errors import ConflictError, FieldError, InvalidInputError
from products import pushing
from products.catalogue import DELETE_MANY, as_sought, checked, own_catalogue
from products.importing.statements import statement

if TYPE_CHECKING:
    from accounts.models import User

MOST = 1000
"""Items at a time. More go into a file, which an import takes at many times the speed."""
TRIES = 5
"""While somebody creates products with the same skus."""


class Status(models.TextChoices):
    """What came of an item."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    DELETED = "deleted"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    INVALID = "invalid"


REFUSED = frozenset({Status.CONFLICT, Status.INVALID})


@dataclass(frozen=True)
class Write:
    """What is to become of one product."""

    sku: str
    fields: Mapping[str, Any]
    """Those to be set; others stay as they are, or get their defaults."""
    delete: bool = False
    if_version: int | None = None
    """The version that the product must have; 0: there must be none."""


@dataclass(frozen=True)
class Outcome:
    """What came of it. The pointers of errors begin at the item."""

    sku: str
    status: Status
    version: int | None = None
    """Of the product as it is now; None where there is none, or nothing was written."""
    errors: tuple[FieldError, ...] = ()


@dataclass(frozen=True)
class _Place:
    """Where a write finds its product: in the catalogue, and among the other writes."""

    key: str
    product_id: int | None
    version: int | None


def write_products(writes: Sequence[Write], *, actor: User | None, atomic: bool = False) -> list[Outcome]:
    """Carry these out, at most MOST; the outcomes are in the same order. What is refused does not keep the others from
    being written, unless they are to be `atomic`.

    Raises ConflictError while an import merges. If atomic, it raises InvalidInputError or ConflictError with all
    that is wrong, its pointers beginning with the number of the item, and nothing is written.
    """
    judged = [_judge(write) for write in writes]
    for last_try in [False] * (TRIES - 1) + [True]:
        try:
            with transaction.atomic(), own_catalogue():
                return _write(judged, actor, atomic)
        except IntegrityError as error:
            # MERGE does not see a product that another transaction creates meanwhile. The next try does.
            if last_try or "product_sku_unique" not in str(error):
                raise
    raise AssertionError  # the last try returns or raises


def _judge(write: Write) -> Write | Outcome:
    """The write with its values as they are stored, or what is wrong with them."""
    if write.delete and write.fields:
        message = "A deletion takes no fields, only `sku` and `if_version`."
        return _refused(write, [FieldError(f"/{name}", "unexpected_field", message) for name in write.fields])
    try:
        clean = checked({**write.fields, "sku": write.sku})
    except InvalidInputError as error:
        return _refused(write, error.errors)
    return replace(write, sku=clean.pop("sku"), fields=clean)


def _refused(write: Write, errors: Sequence[FieldError], status: Status = Status.INVALID) -> Outcome:
    return Outcome(write.sku, status, errors=tuple(errors))


def _write(judged: Sequence[Write | Outcome], actor: User | None, atomic: bool) -> list[Outcome]:
    before = pushing.last_change()
    places = _place({number: as_sought(each.sku) for number, each in enumerate(judged) if _names_a_product(each)})
    outcomes = {number: each for number, each in enumerate(judged) if isinstance(each, Outcome)}
    times = Counter(place.key for place in places.values())
    deletions: dict[int, tuple[Write, _Place]] = {}
    upserts: dict[int, tuple[Write, _Place]] = {}
    for number, write in enumerate(judged):
        if isinstance(write, Outcome):
            continue
        place = places[number]
        outcome = _outcome_before(write, place, times[place.key])
        if outcome is not None:
            outcomes[number] = outcome
        else:
            (deletions if write.delete else upserts)[number] = (write, place)
    if atomic:
        _refuse_all(outcomes)
    outcomes |= _delete(deletions, actor) | _upsert(upserts, actor)
    changed = sum(each.status in (Status.CREATED, Status.UPDATED, Status.DELETED) for each in outcomes.values())
    pushing.request(None, actor, after=before, total=changed)
    return [outcomes[number] for number in range(len(judged))]


PLACE = """
WITH item AS (
    SELECT number, lower(sku) AS key
      FROM unnest(%(numbers)s::int[], %(skus)s::text[]) AS given (number, sku)
), held AS MATERIALIZED (
    SELECT id, version, lower(sku) AS key
      FROM products_product
     WHERE lower(sku) = ANY (ARRAY(SELECT key FROM item))
     ORDER BY lower(sku) COLLATE "C"
       FOR UPDATE
)
SELECT number, key, id, version
  FROM item
  LEFT JOIN held USING (key)
"""
"""PostgreSQL lowers both sides, as for `catalogue.with_sku`. What is found is held until the transaction ends."""


def _names_a_product(each: Write | Outcome) -> bool:
    """Also what is refused may, for another reason: then no other item can mean the same product."""
    return isinstance(each, Write) or all(error.pointer != "/sku" for error in each.errors)


def _place(skus: Mapping[int, str]) -> dict[int, _Place]:
    with connection.cursor() as cursor:
        cursor.execute(PLACE, {"numbers": list(skus), "skus": list(skus.values())})
        return {number: _Place(*place) for number, *place in sorted(cursor.fetchall())}


def _outcome_before(write: Write, place: _Place, times: int) -> Outcome | None:
    """What comes of a write for which nothing is to be written; None for the others."""
    if times > 1:
        message = f"{times} items have the sku {write.sku!r}; upper and lower case count as the same. Send one of them."
        return _refused(write, [FieldError("/sku", "duplicate_sku", message)])
    if write.delete and place.product_id is None:
        return Outcome(write.sku, Status.NOT_FOUND)
    if write.if_version is not None and write.if_version != (place.version or 0):
        now = f"it has version {place.version} now" if place.version else "there is no such product now"
        message = f"{write.sku}: if_version is {write.if_version}, and {now}. Read it again and decide anew."
        return _refused(write, [FieldError("/if_version", "changed_meanwhile", message)], Status.CONFLICT)
    if not write.delete and place.product_id is None and "name" not in write.fields:
        message = f"There is no product {write.sku} yet, and a new product needs a name."
        return _refused(write, [FieldError("/name", "name_missing", message)])
    return None


def _refuse_all(outcomes: Mapping[int, Outcome]) -> None:
    """Raise what is wrong with any of them."""
    refused = {number: each for number, each in sorted(outcomes.items()) if each.status in REFUSED}
    if not refused:
        return
    errors = [error.below(f"/{number}") for number, each in refused.items() for error in each.errors]
    detail = f"Nothing was written, since {len(refused)} of the items can't be: see `errors`."
    invalid = any(each.status == Status.INVALID for each in refused.values())
    raise (InvalidInputError if invalid else ConflictError)(detail, code="bulk_refused", errors=errors)


_Placed = Mapping[int, tuple[Write, _Place]]


def _delete(placed: _Placed, actor: User | None) -> dict[int, Outcome]:
    if placed:
        ids = [place.product_id for _, place in placed.values()]
        with connection.cursor() as cursor:
            cursor.execute(
                DELETE_MANY.format(chosen="SELECT unnest(%s::bigint[])"), [ids, actor.pk if actor else None, None]
            )
    return {number: Outcome(write.sku, Status.DELETED) for number, (write, _) in placed.items()}


UPSERT = f"""
WITH source AS MATERIALIZED (
    SELECT *
      FROM jsonb_to_recordset(%(items)s) AS item
           (number int, id bigint, sku text, name text, description text, status text, attributes jsonb)
     ORDER BY lower(sku) COLLATE "C"
), merged AS (
    MERGE INTO products_product AS p
    USING source AS s ON p.id = s.id
     WHEN MATCHED AND (coalesce(s.name, p.name), coalesce(s.description, p.description),
                       coalesce(s.status, p.status), coalesce(s.attributes, p.attributes))
                      IS DISTINCT FROM (p.name, p.description, p.status, p.attributes)
     THEN UPDATE SET name        = coalesce(s.name, p.name),
                     description = coalesce(s.description, p.description),
                     status      = coalesce(s.status, p.status),
                     attributes  = coalesce(s.attributes, p.attributes),
                     version     = p.version + 1,
                     updated_at  = statement_timestamp()
     WHEN NOT MATCHED
     THEN INSERT (sku, name, description, status, attributes)
          VALUES (s.sku, s.name, coalesce(s.description, ''), coalesce(s.status, 'active'),
                  coalesce(s.attributes, '{{}}'))
    RETURNING s.number, merge_action() AS action, p.id, p.sku, p.version,
              CASE merge_action() WHEN 'UPDATE' THEN {statement("previous_values")} END AS previous
), history AS (
    INSERT INTO products_productchange (product_id, sku, action, version, previous, actor_id)
    SELECT id, sku, CASE action WHEN 'INSERT' THEN 'created' ELSE 'updated' END, version, previous, %(actor_id)s
      FROM merged
)
SELECT number, CASE action WHEN 'INSERT' THEN 'created' ELSE 'updated' END, version
  FROM merged
"""  # noqa: S608 - a text of our own
"""What changes a product is not what it is for an import: the attributes of an item take the place of those that there
are, while the columns of a file are set among them."""


def _upsert(placed: _Placed, actor: User | None) -> dict[int, Outcome]:
    if not placed:
        return {}
    items = [
        {"number": number, "id": place.product_id, "sku": write.sku, **write.fields}
        for number, (write, place) in placed.items()
    ]
    with connection.cursor() as cursor:
        cursor.execute(UPSERT, {"items": json.dumps(items), "actor_id": actor.pk if actor else None})
        written = {number: (Status(status), version) for number, status, version in cursor.fetchall()}
    return {
        number: Outcome(write.sku, *written.get(number, (Status.UNCHANGED, place.version)))
        for number, (write, place) in placed.items()
    }
