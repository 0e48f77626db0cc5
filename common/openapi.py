"""What the OpenAPI document says of errors: one shape, whatever went wrong."""

from __future__ import annotations

import json
from typing import Any

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema_serializer
from rest_framework import serializers
from rest_framework.views import APIView

from common.fields import Body
from common.pagination import KeysetPages

MEANINGS = {
    400: "The request is not valid; `errors` names what is wrong with which part.",
    401: "No token or session, or one that is not known (any more).",
    403: "The token or account may not do this.",
    404: "There is no such thing, or it is not yours to see.",
    406: "No answer can be given in the type that the Accept header asks for.",
    409: "It does not fit the present state; `code` says why.",
    410: "It was there, and is not any more.",
    411: "The length of the body has to be said beforehand.",
    412: "It is not in the state that the request's If-Match or If-None-Match asks for.",
    413: "The body is larger than this server takes.",
    415: "The body is of a type that is not taken here.",
    422: "The `Idempotency-Key` was used for another request.",
    429: "Too many requests; `Retry-After` says in how many seconds to go on.",
    503: "Busy or not available right now; try again later.",
    507: "The file store has no room for this.",
}


class FieldProblem(serializers.Serializer):
    """One thing wrong with one part of the request."""

    pointer = serializers.CharField(help_text="JSON pointer (RFC 6901) to the part, such as `/name`.")
    code = serializers.CharField(help_text="Stable name of the rule that was broken.")
    message = serializers.CharField(help_text="What is wrong, in words.")


class Problem(serializers.Serializer):
    """An error, as RFC 9457 has it."""

    type = serializers.CharField(help_text="`urn:odata:problem:` and the code.")
    title = serializers.CharField(help_text="The kind of problem, in words.")
    status = serializers.IntegerField(help_text="The HTTP status once more.")
    code = serializers.CharField(help_text="Stable name of the problem: compare this, not the words.")
    detail = serializers.CharField(help_text="What is wrong here, and how to put it right.")
    instance = serializers.CharField(help_text="The path that was asked for.")
    request_id = serializers.CharField(help_text="Names this request in the logs.")
    errors = FieldProblem(many=True, required=False, help_text="Each wrong part of the request, where there are such.")  # type: ignore[assignment]  # a field, not the property


def problems(*statuses: int) -> dict[Any, OpenApiResponse]:
    """The error answers of an operation: those that all have, and these."""
    return {
        (status, "application/problem+json"): OpenApiResponse(Problem, description=MEANINGS[status])
        for status in sorted({400, 401, 403, 503, *statuses})
    }


# --- what an operation takes ----------------------------------------------------------------------


class Schema(AutoSchema):
    """drf-spectacular's, which can also be asked while a request is answered."""

    path = ""

    def get_description(self) -> str:  # type: ignore[override]  # as drf-spectacular's own
        """Nothing, where `extend_schema` gives none: the docstring of a view is for who changes it."""
        return ""

    def _map_basic_serializer(self, serializer: Any, direction: str) -> Any:
        schema = super()._map_basic_serializer(serializer, direction)
        if direction == "request" and isinstance(serializer, Body):
            schema["additionalProperties"] = False
            schema |= serializer.rules
            if serializer.passed_over:
                schema["patternProperties"] = {f"^({'|'.join(sorted(serializer.passed_over))})$": {}}
        return schema

    def query_parameters(self) -> set[str]:
        """The names of the parameters that an address of this operation may have after its question mark."""
        described = [each for each in self.get_override_parameters() if isinstance(each, OpenApiParameter)]
        paging = {each["name"] for each in self._get_pagination_parameters()}
        return paging | {each.name for each in described if each.location == OpenApiParameter.QUERY}


def query_parameters(view: APIView, method: str) -> set[str]:
    """What the document says that this operation of a view takes; nothing where it says nothing of it."""
    handler = getattr(view, getattr(view, "action", None) or method.lower(), None)
    described = getattr(handler, "kwargs", {}).get("schema")
    if described is None:
        return set()
    schema = described()
    schema.view, schema.method = view, method.replace("HEAD", "GET")
    names: set[str] = schema.query_parameters()
    return names


def example(name: str, body: dict[str, Any]) -> Any:
    """Gives a serializer a request that the schema shows. tests/test_examples.py sends it."""
    return extend_schema_serializer(examples=[OpenApiExample(name, body, request_only=True)])


# --- what holds for all operations -----------------------------------------------------------------

NO_NUL = r"^[^\x00]*$"
"""Pattern of every text that has no other: no address and no field lets a NUL through, which PostgreSQL can't store."""
WRITES = ("post", "put", "patch")
PAGE_FIELDS = {
    "next": "Address of the page after this one; null on the last.",
    "previous": "Address of the page before this one; null on the first.",
    "results": "What stands on this page, in the order of the list.",
}
TAKES_NO_KEY = "x-takes-no-idempotency-key"
"""Extension of a POST that refuses an `Idempotency-Key`; not shown."""
LONGEST_KEY = 255
KEY_PATTERN = rf"[!#-+\-.-\[\]-~]{{1,{LONGEST_KEY}}}"
"""Of an Idempotency-Key: printable ASCII without space, quotation mark, backslash and comma, which is what a structured
string (RFC 9651) may hold as it is, and two headers joined into one can't look like."""
KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "pattern": rf'^({KEY_PATTERN}|"{KEY_PATTERN}")$'},
    "description": (
        "Names this request among yours, best by a new UUID. Sent again with the same key within 24 hours, it is not "
        "carried out again but answered as it was: 409 while it is still being carried out, 422 if it is not the same."
    ),
}
REPLAYED = {"description": "`true`: this is the stored answer of an earlier request.", "schema": {"type": "string"}}
DONE = {"200": "What was asked for.", "201": "It is made.", "202": "It is taken on, and done soon after."}
"""Descriptions of answers that have no better one."""
FORMAT = "Another way to say what the Accept header says: which kind of answer is wanted."


def complete(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """drf-spectacular's hook: add what is true of every operation, so that no view has to say it."""
    schemas = result["components"]["schemas"]
    for item in result["paths"].values():
        for method, operation in item.items():
            _complete_operation(method, operation)
            if "requestBody" in operation and _must_be_there(operation["requestBody"], schemas):
                operation["requestBody"]["required"] = True
    for name, schema in schemas.items():
        if name.startswith("Paginated"):
            _complete_page(schema)
        if name.endswith("Request"):
            _say_defaults(schema)
            _say_no_nul(schema)
        for field in schema.get("properties", {}).values():
            if {} in field.get("oneOf", ()):  # any value or null: null would be both, and so be neither
                del field["oneOf"]
    return result


def _complete_page(schema: dict[str, Any]) -> None:
    schema["description"] = "One page of a list."
    for field, words in PAGE_FIELDS.items():
        if field in schema["properties"]:
            schema["properties"][field].setdefault("description", words)
            schema["properties"][field].pop("example", None)  # of another service
            if schema["properties"][field].pop("nullable", False):  # a word of OpenAPI 3.0
                schema["properties"][field]["type"] = ["string", "null"]
    schema["required"] = sorted(schema["properties"].keys() - {"total_estimate"})  # which is there if asked for


def _say_defaults(schema: dict[str, Any]) -> None:
    """Tell the defaults of a body in words alone.

    As `default` they come back: generated clients send them with every body, where they outweigh what the address
    says, or have their users say them (openapi-typescript takes a field that has one for required).
    """
    for field in schema.get("properties", {}).values():
        if "default" in field:
            default = field.pop("default")
            said = default if isinstance(default, str) else json.dumps(default)
            field["description"] = f"{field.get('description', '')} `{said}` if not given.".strip()


def _must_be_there(body: dict[str, Any], schemas: dict[str, Any]) -> bool:
    """Whether a body of none of its types may be empty."""
    found = [media["schema"] for media in body["content"].values()]
    told = [schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema for schema in found]
    return all(schema.keys() & {"required", "minLength", "minProperties"} for schema in told)


def _say_no_nul(schema: dict[str, Any]) -> None:
    """Give each text that is not described any closer the pattern that holds for all."""
    if schema.get("type") == "string" and not schema.keys() & {"enum", "format", "pattern"}:
        schema["pattern"] = NO_NUL
    for part in (*schema.get("properties", {}).values(), schema.get("items"), schema.get("additionalProperties")):
        if isinstance(part, dict):
            _say_no_nul(part)


def _complete_operation(method: str, operation: dict[str, Any]) -> None:
    takes_key = method == "post" and not operation.pop(TAKES_NO_KEY, False)
    if takes_key:
        operation.setdefault("parameters", []).append(KEY)
    for media in operation.get("requestBody", {}).get("content", {}).values():
        _say_defaults(media["schema"])
        _say_no_nul(media["schema"])
    formats = any(parameter["name"] == "format" for parameter in operation.get("parameters", ()))
    statuses = {
        406,
        429,
        *({413, 415} if method in WRITES else ()),
        *({404} if formats else ()),
        *({409, 422} if takes_key else ()),
    }
    for status in sorted(statuses - {int(known) for known in operation["responses"]}):
        operation["responses"][str(status)] = {
            "description": MEANINGS[status],
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
    for status, response in operation["responses"].items():
        response["description"] = response["description"] or DONE[status]
        if takes_key and status.startswith("2"):
            response.setdefault("headers", {})["Idempotency-Replayed"] = REPLAYED
    operation["responses"] = dict(sorted(operation["responses"].items()))
    for parameter in operation.get("parameters", ()):
        if parameter["in"] in ("path", "query"):
            _say_no_nul(parameter["schema"])
        if parameter["name"] == "format":
            parameter.setdefault("description", FORMAT)
        if parameter["name"] == KeysetPages.page_size_query_param:
            parameter["schema"] |= {"minimum": 1, "maximum": KeysetPages.max_page_size}
