"""Who may do what over REST. `docs/access.md` shows this table, and tests/test_access.py holds the service to it.

Each line: method, path of the schema, the right it needs, and whether it is about one import, which only
its owner and those who may see all imports find.
"""

from __future__ import annotations

ONE = "/api/v1/imports/{import_id}/"
TABLE: list[tuple[str, str, str, bool]] = [
    ("get", "/api/v1/changes/", "read", False),
    ("get", "/api/v1/imports/", "read", False),
    ("post", "/api/v1/imports/", "import", False),
    ("get", ONE, "read", True),
    ("post", ONE + "apply/", "import", True),
    ("post", ONE + "cancel/", "import", True),
    ("get", ONE + "changes/", "read", True),
    ("get", ONE + "file/", "read", True),
    ("get", ONE + "rejects/", "read", True),
    ("get", ONE + "rejects.csv", "read", True),
    ("get", ONE + "rejects/summary/", "read", True),
    ("post", ONE + "undo/", "import", True),
    ("post", "/api/v1/imports/mapping/", "import", False),
    ("get", "/api/v1/products/", "read", False),
    ("post", "/api/v1/products/", "write", False),
    ("get", "/api/v1/products/{sku}/", "read", False),
    ("put", "/api/v1/products/{sku}/", "write", False),
    ("patch", "/api/v1/products/{sku}/", "write", False),
    ("delete", "/api/v1/products/{sku}/", "write", False),
    ("get", "/api/v1/products/{sku}/history/", "read", False),
    ("get", "/api/v1/products/export.csv", "read", False),
    ("get", "/api/v1/products/export.xlsx", "read", False),
    ("post", "/api/v1/sockets/tickets/", "read", False),
    ("get", "/api/v1/webhooks/event-types/", "read", False),
    *[
        (method, f"/api/v1/webhooks/{path}", "webhooks", False)
        for method, path in (
            ("get", ""),
            ("post", ""),
            ("get", "{endpoint_id}/"),
            ("put", "{endpoint_id}/"),
            ("patch", "{endpoint_id}/"),
            ("delete", "{endpoint_id}/"),
            ("post", "{endpoint_id}/rotate/"),
            ("post", "{endpoint_id}/test/"),
            ("post", "{endpoint_id}/pause/"),
            ("post", "{endpoint_id}/resume/"),
            ("get", "deliveries/"),
            ("post", "deliveries/redeliver/"),
            ("get", "deliveries/{delivery_id}/"),
            ("post", "deliveries/{delivery_id}/redeliver/"),
            ("get", "attempts/"),
            ("get", "attempts/{attempt_id}/"),
        )
    ],
    ("get", "/products/all", "read", False),
    ("post", "/products/csv", "import", False),
    ("get", "/products/id/{sku}", "read", False),
    ("put", "/products/id/{sku}", "write", False),
    ("delete", "/products/id/{sku}", "write", False),
    ("post", "/products/new", "write", False),
    ("post", "/webhooks/create", "webhooks", False),
    ("get", "/webhooks/getall", "webhooks", False),
    ("put", "/webhooks/update_by_id/{url}/{status}", "webhooks", False),
    ("delete", "/webhooks/del_by_url/{url}", "webhooks", False),
]
RIGHTS: dict[str, set[str]] = {
    "viewer": {"read"},
    "editor": {"read", "write"},
    "importer": {"read", "import"},
    "admin": {"read", "write", "import", "webhooks"},
}


def as_markdown() -> str:
    lines = ["| method | path | " + " | ".join(RIGHTS) + " | whose |", "|---|---|" + "---|" * (len(RIGHTS) + 1)]
    for method, path, need, owned in TABLE:
        marks = " | ".join("yes" if need in rights else "403" for rights in RIGHTS.values())
        lines.append(f"| {method.upper()} | `{path}` | {marks} | {'own; admin: all; else 404' if owned else 'all'} |")
    return "\n".join(lines)
