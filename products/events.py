"""What is told of products and imports, and when: each in the transaction that makes it true.

`webhooks.event_types` describes the bodies.
"""

from __future__ import annotations

from collections.abc import Container
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from products.models import Import, Product, ProductChange
from products.models.catalogue import EDITABLE
from products.progress import document
from webhooks import outbox
from webhooks.event_types import MAX_BYTES

if TYPE_CHECKING:
    from accounts.models import User

SHORT = 2000
"""Bytes of a value that is told also where others are too long."""
LONGEST_MESSAGE = 1000
_ROOM = MAX_BYTES - 200
"""For the data, beside the type and the time."""

_OF_PRODUCT = ("sku", "name", "description", "status", "attributes", "version", "created_at", "updated_at")
_OF_IMPORT = (
    "id",
    "kind",
    "state",
    "phase",
    "version",
    "attempt",
    "file_name",
    "sha256",
    "bytes_total",
    "mode",
    "rows_read",
    "rows_created",
    "rows_updated",
    "rows_unchanged",
    "rows_rejected",
    "rows_duplicate",
    "rows_deleted",
    "rows_repaired",
    "products_deactivated",
    "undoes",
    "created_by",
    "created_at",
    "started_at",
    "finished_at",
)
"""Of an import's document: what is short, and does not change with every look."""

_PRODUCT_EVENTS = {"created": "product.created", "updated": "product.updated", "deleted": "product.deleted"}


def product_changed(product: Product, change: ProductChange, actor: User | None) -> None:
    """Tell of one change of one product; `product` is what it was made to, or what it last was."""
    outbox.publish(_PRODUCT_EVENTS[change.action], _product_data(product, change, actor))


def import_happened(event_type: str, import_: Import) -> None:
    """Tell that an import has started or ended."""
    outbox.publish(event_type, _import_data(import_))


def path_of(sku: str) -> str:
    """A product's path on this server. A sku that would read as another address of the API goes by the path of the
    earlier service."""
    if sku == "bulk" or sku.endswith("/history"):
        return f"/products/id/{quote(sku)}"
    return f"/api/v1/products/{quote(sku)}/"


def in_order(names: Container[str]) -> list[str]:
    """Names of fields as they are always told."""
    return [name for name in EDITABLE if name in names]


def actor_data(actor: User | None) -> dict[str, Any] | None:
    return {"id": actor.pk, "username": actor.get_username()} if actor else None


def _product_data(product: Product, change: ProductChange, actor: User | None) -> dict[str, Any]:
    # Of a creation and a deletion the action says it all.
    previous = (change.previous or {}) if change.action == ProductChange.Action.UPDATED else {}
    fields = in_order(previous)
    data: dict[str, Any] = {
        "id": change.pk,
        "product_id": change.product_id,
        "version": change.version,
        "product": {name: _as_shown(getattr(product, name)) for name in _OF_PRODUCT},
        "changed_fields": fields,
        "previous": {name: previous[name] for name in fields},
        "left_out": [],
        "actor": actor_data(actor),
        "url": path_of(product.sku),
    }
    if outbox.size_of(data) > _ROOM:
        _leave_out_long_values(data)
    return data


def _as_shown(value: Any) -> Any:
    """Times to the microsecond, as the API shows them."""
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value


def _leave_out_long_values(data: dict[str, Any]) -> None:
    for name in ("description", "attributes"):
        holders = [data["product"], data["previous"]]
        if any(outbox.size_of(holder.get(name)) > SHORT for holder in holders):
            data["left_out"].append(name)
            for holder in holders:
                holder.pop(name, None)


def _import_data(import_: Import) -> dict[str, Any]:
    told: dict[str, Any] = dict(document(import_))
    changes = import_.products_changed if import_.state == Import.State.SUCCESS else 0
    error = told["error"] and {**told["error"], "message": told["error"]["message"][:LONGEST_MESSAGE]}
    return {
        **{name: told[name] for name in _OF_IMPORT},
        "error": error,
        "products_changed": changes,
        "url": told["links"]["self"],
        "changes_url": f"/api/v1/changes/?import={import_.pk}" if changes else None,
        "changes_expire_at": None,
    }
