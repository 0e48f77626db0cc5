"""Who may do what. `docs/access.md` shows these tables, and tests/test_access.py holds the service to them.

Each line: method, path, the rights of which it needs one, and whose it is. A right is what a role gives, and what a
token has to name in its scopes.
"""

from __future__ import annotations

ALL, OWN, ALONE = "all", "own; admin: all; else 404", "own; else 404"
Line = tuple[str, str, str, str]

ONE = "/api/v1/imports/{import_id}/"
HOOK = "/api/v1/webhooks/{endpoint_id}/"
TABLE: list[Line] = [
    ("get", "/api/v1/changes/", "read", ALL),
    ("get", "/api/v1/imports/", "read or import", ALL),
    ("post", "/api/v1/imports/", "import", ALL),
    ("get", ONE, "read or import", OWN),
    ("post", ONE + "apply/", "import", OWN),
    ("post", ONE + "cancel/", "import", OWN),
    ("get", ONE + "changes/", "read or import", OWN),
    ("get", ONE + "file/", "read or import", OWN),
    ("get", ONE + "rejects/", "read or import", OWN),
    ("get", ONE + "rejects.csv", "read or import", OWN),
    ("get", ONE + "rejects/summary/", "read or import", OWN),
    ("post", ONE + "undo/", "import", OWN),
    ("post", "/api/v1/imports/mapping/", "import", ALL),
    ("get", "/api/v1/products/", "read", ALL),
    ("post", "/api/v1/products/", "write", ALL),
    ("post", "/api/v1/products/bulk/", "write", ALL),
    ("get", "/api/v1/products/{sku}/", "read", ALL),
    ("put", "/api/v1/products/{sku}/", "write", ALL),
    ("patch", "/api/v1/products/{sku}/", "write", ALL),
    ("delete", "/api/v1/products/{sku}/", "write", ALL),
    ("get", "/api/v1/products/{sku}/history/", "read", ALL),
    ("get", "/api/v1/products/export.csv", "read", ALL),
    ("get", "/api/v1/products/export.xlsx", "read", ALL),
    ("post", "/api/v1/sockets/tickets/", "read or import", ALL),
    ("get", "/api/v1/webhooks/", "webhooks", ALL),
    ("post", "/api/v1/webhooks/", "webhooks", ALL),
    ("get", HOOK, "webhooks", OWN),
    ("put", HOOK, "webhooks", OWN),
    ("patch", HOOK, "webhooks", OWN),
    ("delete", HOOK, "webhooks", OWN),
    ("post", HOOK + "rotate/", "webhooks", OWN),
    ("post", HOOK + "test/", "webhooks", OWN),
    ("post", HOOK + "pause/", "webhooks", OWN),
    ("post", HOOK + "resume/", "webhooks", OWN),
    ("get", "/api/v1/webhooks/attempts/", "webhooks", ALL),
    ("get", "/api/v1/webhooks/attempts/{attempt_id}/", "webhooks", OWN),
    ("get", "/api/v1/webhooks/deliveries/", "webhooks", ALL),
    ("get", "/api/v1/webhooks/deliveries/{delivery_id}/", "webhooks", OWN),
    ("post", "/api/v1/webhooks/deliveries/{delivery_id}/redeliver/", "webhooks", OWN),
    ("post", "/api/v1/webhooks/deliveries/redeliver/", "webhooks", ALL),
    ("get", "/api/v1/webhooks/event-types/", "read or webhooks", ALL),
    ("get", "/products/all", "read", ALL),
    ("post", "/products/csv", "import", ALL),
    ("get", "/products/id/{sku}", "read", ALL),
    ("put", "/products/id/{sku}", "write", ALL),
    ("delete", "/products/id/{sku}", "write", ALL),
    ("post", "/products/new", "write", ALL),
    ("post", "/webhooks/create", "webhooks", ALL),
    ("get", "/webhooks/getall", "webhooks", ALL),
    ("put", "/webhooks/update_by_id/{url}/{status}", "webhooks", OWN),
    ("delete", "/webhooks/del_by_url/{url}", "webhooks", OWN),
]
UPLOADS: list[Line] = [
    ("post", "/files/", "import", ALL),
    ("head", "/files/{upload_id}", "import", ALONE),
    ("patch", "/files/{upload_id}", "import", ALONE),
    ("delete", "/files/{upload_id}", "import", ALONE),
]
"""tus: an upload belongs to its person and, begun by a token, to that token."""
SOCKETS: list[Line] = [
    ("socket", "/ws/imports/{import_id}/", "read or import", OWN),
    ("socket", "/webhooks/task-monitor/{import_id}", "read or import", OWN),
]
PAGES: list[Line] = [
    ("get", "/imports/", "read", ALL),
    ("get", "/imports/new/", "import", ALL),
    ("get", "/imports/template.csv", "read", ALL),
    ("get", "/imports/{import_id}/", "read", OWN),
    ("get", "/imports/{import_id}/changes/", "read", OWN),
    ("get", "/imports/{import_id}/rows/", "read", OWN),
    ("post", "/imports/{import_id}/cancel/", "import", OWN),
    ("post", "/imports/{import_id}/apply/", "import", OWN),
    ("post", "/imports/{import_id}/undo/", "import", OWN),
    ("post", "/imports/{import_id}/read-again/", "import", OWN),
    ("get", "/account/tokens/", "read", ALL),
    ("post", "/account/tokens/{token_id}/revoke/", "read", ALONE),
    ("get", "/account/password/", "read", ALL),
    ("get", "/account/second-factor/", "read", ALL),
]
"""Pages for people with a session. A stranger's import is not found before it is asked who may steer it."""
ADMIN: dict[str, str] = {
    "accounts/apitoken": "view add change delete",
    "accounts/auditentry": "view",
    "accounts/user": "view add change delete",
    "auth/group": "view",
    "django_celery_results/taskresult": "view",
    "products/import": "view add",
    "products/product": "view add change delete",
    "products/productchange": "view",
    "webhooks/delivery": "view",
    "webhooks/webhookendpoint": "view add change delete",
}
"""The admin: what the role admin may do there with each kind of row. Nobody sees it who is not staff."""
ADMIN_PAGES = {"/admin/doctor/": "view"}
"""Pages of the admin that show no kind of row, and what the role admin may do there."""
PUBLIC = {
    "livez",
    "metrics",
    "readyz",
    "api/v1/schema/",
    "api/docs/",
    "api/redoc/",
    "login/",
    "logout/",
    "setup/<str:token>/",
    "",
}
"""For everybody: health, the documentation, the way in and out, and `/`, which leads to the imports. `/metrics` asks
for a word of its own, METRICS_TOKEN."""
RIGHTS: dict[str, set[str]] = {
    "viewer": {"read"},
    "editor": {"read", "write"},
    "importer": {"read", "import"},
    "admin": {"read", "write", "import", "webhooks"},
}


def has_right(rights: set[str], need: str) -> bool:
    return not rights.isdisjoint(need.split(" or "))


def as_markdown(table: list[Line], *, scopes: bool = True, refusal: str = "403") -> str:
    """A table for people; with the scopes that a token needs, where tokens are of use."""
    heads = ["method", "path", *(["scope"] if scopes else []), *RIGHTS, "whose"]
    lines = [_row(heads), "|" + "---|" * len(heads)]
    for method, path, need, whose in table:
        marks = ["yes" if has_right(rights, need) else refusal for rights in RIGHTS.values()]
        lines.append(_row([method.upper(), f"`{path}`", *([need] if scopes else []), *marks, whose]))
    return "\n".join(lines)


def admin_as_markdown() -> str:
    addresses = {f"/admin/{model}/": may for model, may in ADMIN.items()} | ADMIN_PAGES
    rows = [_row([f"`{address}`", may or "nothing"]) for address, may in addresses.items()]
    return "\n".join([_row(["address", "the role admin, as staff, may"]), "|---|---|", *rows])


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
