"""The catalogue of events: for each type what it says, the JSON Schema of its body, and an example.

Whoever publishes an event names a type of this list. Tests hold every body that the code writes against its schema,
and docs/webhooks.md against the list. Schemas are JSON Schema, draft 2020-12; an object may get further members with
time, so receivers are to pass over those that they don't know.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
MAX_BYTES = 20_000
"""Of a body: what receivers take without ado. What would be larger is left out, and a link leads to it."""


@dataclass(frozen=True)
class EventType:
    """One type of event."""

    name: str
    sentence: str
    """When it is sent, for people."""
    data: Schema
    """What its `data` holds."""
    example: dict[str, Any]
    """A body."""

    @property
    def schema(self) -> Schema:
        """Of the whole body."""
        body = _object(type={"const": self.name}, timestamp=_TIME, data=self.data)
        return {"$schema": DIALECT, "title": self.name, "description": self.sentence, **body}


# --- pieces of schemas ---------------------------------------------------------------------------


def _object(optional: Iterable[str] = (), /, **properties: Schema) -> Schema:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required}


def _text(description: str = "", **more: Any) -> Schema:
    return {"type": "string", **({"description": description} if description else {}), **more}


def _number(description: str = "") -> Schema:
    return {"type": "integer", "minimum": 0, **({"description": description} if description else {})}


def _or_null(schema: Schema) -> Schema:
    kinds = schema["type"]
    return {**schema, "type": [kinds, "null"]}


def _list_of(items: Schema, description: str, **more: Any) -> Schema:
    return {"type": "array", "items": items, "description": description, **more}


_TIME = _text(format="date-time")
_ID = _text(format="uuid")
_ACTOR = _or_null(
    _object(id=_number(), username=_text()) | {"description": "Who did it; null for nobody, or nobody any more."}
)
_FIELDS = ("name", "description", "status", "attributes")
_CHANGED = _list_of({"enum": list(_FIELDS)}, "What changed in an update; empty for a creation and a deletion.")
_IMPORT_ID = _or_null(_ID | {"description": "The import that did it, or the undo, or the change of many products."})

# --- products ------------------------------------------------------------------------------------

_VALUES = {
    "name": _text(),
    "description": _text(),
    "status": {"enum": ["active", "inactive"]},
    "attributes": {"type": "object"},
}
_PRODUCT = _object(
    ("description", "attributes"),
    sku=_text(maxLength=100),
    **_VALUES,
    version=_number(),
    created_at=_TIME,
    updated_at=_TIME,
)


def _product_data(previous: str) -> Schema:
    return _object(
        id=_number("Of the change, as in the feed of changes."),
        product_id=_number("Stays the same for the life of the product; a later one with the same sku has another."),
        version=_number("Of the product after the change: grows with each change of it."),
        product=_PRODUCT,
        changed_fields=_CHANGED,
        previous=_object(_VALUES, **_VALUES) | {"description": previous},
        left_out=_list_of({"enum": list(_FIELDS)}, f"Fields whose values would make this larger than {MAX_BYTES:,} B."),
        actor=_ACTOR,
        url=_text("The product's path on this server."),
    )


def _product_example(name: str, version: int, changed: list[str], previous: dict[str, Any]) -> dict[str, Any]:
    return _example(
        name,
        {
            "id": 1500321,
            "product_id": 7311,
            "version": version,
            "product": {
                "sku": "LAMP-1",
                "name": "Oak lamp",
                "description": "Of oak, 40 cm.",
                "status": "active",
                "attributes": {"colour": "natural"},
                "version": version,
                "created_at": "2026-11-02T08:15:30.120417Z",
                "updated_at": "2026-11-25T11:02:09.481022Z",
            },
            "changed_fields": changed,
            "previous": previous,
            "left_out": [],
            "actor": {"id": 3, "username": "ada"},
            "url": "/api/v1/products/LAMP-1/",
        },
    )


_ITEM = _object(
    id=_number("Of the change: grows within an import."),
    product_id=_number(),
    sku=_text(maxLength=100),
    action={"enum": ["created", "updated", "deleted"]},
    version=_number("Of the product after the change."),
    changed_fields=_CHANGED,
)
_BATCH = _object(
    **{"import": _IMPORT_ID},
    kind={"enum": ["file", "undo", "bulk", None], "description": "Of the import; null where there is none."},
    actor=_ACTOR,
    batch=_number("Of this endpoint and this import: 1, 2, 3 .."),
    last={"type": "boolean", "description": "Whether it is the last one."},
    items_total=_number("How many products change in all batches together."),
    items=_list_of(_ITEM, "In the order of their ids, each product once.", minItems=1),
)

# --- imports -------------------------------------------------------------------------------------

_COUNTS = (
    "rows_read",
    "rows_created",
    "rows_updated",
    "rows_unchanged",
    "rows_rejected",
    "rows_duplicate",
    "rows_deleted",
    "rows_repaired",
    "products_deactivated",
)
_IMPORT = _object(
    id=_ID,
    kind={"enum": ["file", "undo", "bulk"]},
    state={"enum": ["PENDING", "PROGRESS", "SUCCESS", "FAILURE", "CANCELLED"]},
    phase=_text(),
    version=_number("Of the import's document: the newer one has the greater version."),
    attempt=_number(),
    file_name=_text(),
    sha256=_text("Of the file; empty where there is none."),
    bytes_total=_number(),
    mode={"enum": ["upsert", "create", "update", "sync"]},
    **{name: _number() for name in _COUNTS},
    products_changed=_number("How many products it changed: the items of its change set."),
    error=_or_null(_object(code=_text(), message=_text())),
    undoes=_or_null(_ID | {"description": "The import that this one takes back."}),
    created_by=_or_null(_text("Username.")),
    created_at=_TIME,
    started_at=_or_null(_TIME),
    finished_at=_or_null(_TIME),
    url=_text("The import's path on this server."),
    changes_url=_or_null(_text("Path of its change set; null where it changed nothing.")),
    changes_expire_at=_or_null(_TIME | {"description": "Until when it can be fetched; null: for good."}),
)


def _import_example(name: str, state: str, **fields: Any) -> dict[str, Any]:
    import_id = "019abac1-7a3e-7c02-9d5e-3f2b8a6c1d40"
    running = state == "PROGRESS"
    data: dict[str, Any] = {
        "id": import_id,
        "kind": "file",
        "state": state,
        "phase": "staging" if running else "finished",
        "version": 1 if running else 17,
        "attempt": 1,
        "file_name": "products.csv",
        "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "bytes_total": 95_120_433,
        "mode": "upsert",
        **dict.fromkeys(_COUNTS, 0),
        "products_changed": 0,
        "error": None,
        "undoes": None,
        "created_by": "ada",
        "created_at": "2026-11-25T11:02:01.000000+00:00",
        "started_at": "2026-11-25T11:02:01.350000+00:00",
        "finished_at": None if running else "2026-11-25T11:02:08.810000+00:00",
        "url": f"/api/v1/imports/{import_id}/",
        "changes_url": f"/api/v1/changes/?import={import_id}" if state == "SUCCESS" else None,
        "changes_expire_at": None,
    }
    return _example(name, data | fields)


def _example(name: str, data: dict[str, Any]) -> dict[str, Any]:
    return {"type": name, "timestamp": "2026-11-25T11:02:09.512Z", "data": data}


# --- the list ------------------------------------------------------------------------------------

_ALL = (
    EventType(
        "product.created",
        "Somebody created a product.",
        _product_data("Empty."),
        _product_example("product.created", 1, [], {}),
    ),
    EventType(
        "product.updated",
        "Somebody changed a product. What changes nothing is no event.",
        _product_data("The changed fields, with the values that they had before."),
        _product_example("product.updated", 4, ["name"], {"name": "Lamp"}),
    ),
    EventType(
        "product.deleted",
        "Somebody deleted a product; `product` is what it last was.",
        _product_data("Empty."),
        _product_example("product.deleted", 5, [], {}),
    ),
    EventType(
        "products.changed",
        "Many products changed at a time, by an import, its undo or one action: some of them, the rest in further "
        "events.",
        _BATCH,
        _example(
            "products.changed",
            {
                "import": "019abac1-7a3e-7c02-9d5e-3f2b8a6c1d40",
                "kind": "file",
                "actor": {"id": 3, "username": "ada"},
                "batch": 1,
                "last": False,
                "items_total": 500000,
                "items": [
                    {
                        "id": 1000001,
                        "product_id": 7311,
                        "sku": "LAMP-1",
                        "action": "updated",
                        "version": 4,
                        "changed_fields": ["name"],
                    },
                    {
                        "id": 1000002,
                        "product_id": 9207,
                        "sku": "LAMP-2",
                        "action": "created",
                        "version": 1,
                        "changed_fields": [],
                    },
                ],
            },
        ),
    ),
    EventType(
        "import.started",
        "A worker has begun with an import.",
        _IMPORT,
        _import_example("import.started", "PROGRESS"),
    ),
    EventType(
        "import.completed",
        "An import is in the catalogue; `changes_url` lists what it changed.",
        _IMPORT,
        _import_example(
            "import.completed",
            "SUCCESS",
            rows_read=500000,
            rows_created=1200,
            rows_updated=30500,
            rows_unchanged=468250,
            rows_rejected=40,
            rows_duplicate=10,
            products_changed=31700,
        ),
    ),
    EventType(
        "import.failed",
        "An import ended with an error, and nothing of it is in the catalogue.",
        _IMPORT,
        _import_example(
            "import.failed",
            "FAILURE",
            rows_read=1200,
            rows_rejected=101,
            error={
                "code": "too_many_rejects",
                "message": "101 of the first 1,200 rows were rejected, more than 100 rows. Is this the right file? "
                "Nothing was applied: look at the rejected rows and correct the file, or allow more by max_rejects.",
            },
        ),
    ),
    EventType(
        "import.cancelled",
        "An import was cancelled, or its check discarded; nothing of it is in the catalogue.",
        _IMPORT,
        _import_example(
            "import.cancelled",
            "CANCELLED",
            error={"code": "cancelled", "message": "The import was cancelled. Nothing was applied."},
        ),
    ),
    EventType(
        "import.undone",
        "What an import did was taken back: `undoes` names it, `id` is the undo, an import of its own.",
        _IMPORT,
        _import_example(
            "import.undone",
            "SUCCESS",
            kind="undo",
            file_name="Undo of products.csv",
            sha256="",
            bytes_total=0,
            rows_read=31700,
            rows_updated=30500,
            rows_deleted=1200,
            products_changed=31700,
            undoes="019abac0-11d2-7b6f-8a34-0c9d7e5f2b18",
        ),
    ),
    EventType(
        "endpoint.disabled",
        "An endpoint was turned off after failing for days. Others are told, that one can't be.",
        _object(
            endpoint_id=_ID,
            url=_text("Of the endpoint."),
            reason=_text(),
            disabled_at=_TIME,
            deliveries_waiting=_number("Kept, for 30 days or what the operator has set, and sent when it is on again."),
        ),
        _example(
            "endpoint.disabled",
            {
                "endpoint_id": "019abac3-0d41-7f21-b6a0-5e1c9d3a7b62",
                "url": "https://shop.example.com/hooks",
                "reason": "No delivery has succeeded for 5 days.",
                "disabled_at": "2026-11-25T11:02:09.000000+00:00",
                "deliveries_waiting": 1204,
            },
        ),
    ),
    EventType(
        "ping",
        "Somebody tests an endpoint.",
        _object(endpoint_id=_ID, message=_text()),
        _example(
            "ping",
            {"endpoint_id": "019abac3-0d41-7f21-b6a0-5e1c9d3a7b62", "message": "This endpoint works if you read this."},
        ),
    ),
)

EVENT_TYPES: dict[str, EventType] = {event_type.name: event_type for event_type in _ALL}
NAMES = list(EVENT_TYPES)


def refuse_unknown(name: str) -> None:
    """Raise ValueError for a type that the catalogue does not have."""
    if name not in EVENT_TYPES:
        raise ValueError(f"There is no type of event {name!r}. Describe it in webhooks/event_types.py first.")
