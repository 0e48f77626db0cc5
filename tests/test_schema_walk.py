"""Schemathesis sends what the OpenAPI document allows, and what it forbids, to every operation in it.

Operations that are added later are walked without a word here. The requests are the same in each run: they are
derived from the code, not from chance. How many there are of each operation is SCHEMA_EXAMPLES.

All checks: what does not fit the schema is refused, and what fits is accepted, but for what no schema can say:
`MAY_BE_REFUSED` lists it.
"""

from __future__ import annotations

import gc
import json
import os
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from hypothesis import HealthCheck, settings
from schemathesis import GenerationMode
from schemathesis.config import SchemathesisConfig
from schemathesis.core.parameters import ParameterLocation
from schemathesis.specs.openapi.checks import positive_data_acceptance

from accounts.models import ApiToken, Scope, User
from common.whole_bodies import WholeBodies
from products import catalogue
from products.models import Import
from tests.test_access import HOOK_URL, a_webhook_of
from webhooks.egress import RESERVED, RESERVED_PREFIXES

EXAMPLES = int(os.environ.get("SCHEMA_EXAMPLES", "6"))
# Not `odata.wsgi`: to import that makes a web process of this one, and of all programs that tests start later.
application = WholeBodies(get_wsgi_application())


def read_to_the_end(environ: Any, start_response: Any) -> list[bytes]:
    """The application, with each answer closed as a web server does it: streamed ones would keep their places."""
    answer: Any = application(environ, start_response)
    try:
        return [b"".join(answer)]
    finally:
        answer.close()


schema = schemathesis.openapi.from_wsgi(
    "/api/v1/schema/?format=json",
    read_to_the_end,
    # 412 is to an If-Match what 404 is to an id. An answer of 5xx is never expected, whatever was sent.
    config=SchemathesisConfig.from_dict(
        {"checks": {"positive_data_acceptance": {"expected-statuses": ["2xx", "304", "404", "409", "412"]}}}
    ),
)
schemathesis.serializer.alias("text/csv", "application/octet-stream")  # else it sends no body of this type
pytestmark = [
    pytest.mark.django_db,
    # The file of an upload that is refused is closed when it is forgotten.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.fixture(autouse=True)
def _one_connection() -> Iterator[None]:
    """As Django's own test client has it: a request does not close the connection that the test's transaction is in."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the file of an upload that is refused is closed when it is forgotten: now
        gc.collect()


@pytest.fixture
def there(tmp_path: Path) -> dict[str, str]:
    """A token that may do everything, and the names of what there is for it: a product, an import, an endpoint .."""
    ada = User.objects.create_superuser("ada", password=None)
    catalogue.create_product({"sku": "LAMP-1", "name": "Lamp"}, actor=ada)
    import_ = Import.objects.create(file_name="lamps.csv", bytes_total=7, created_by=ada)
    return {
        "token": ApiToken.issue(ada, name="test", scopes=Scope.values)[1],
        "sku": "LAMP-1",
        "import_id": str(import_.pk),
        "url": "http://192.0.2.1/hook",
        **{name.strip("{}"): value for name, value in a_webhook_of(ada).items()},
    }


# --- what no schema can say ------------------------------------------------------------------------


def asked(case: Any, name: str) -> Any:
    """The parameter of the address."""
    return (case.query or {}).get(name)


def given(case: Any, name: str) -> Any:
    """The field of the body."""
    return case.body.get(name) if isinstance(case.body, dict) else None


def option(case: Any, name: str) -> Any:
    """The option of an import, which may be a parameter or a field."""
    return "file_name" in case.operation.query and (asked(case, name) or given(case, name))


def refused_header(case: Any) -> bool:
    """Whether a header of an endpoint's own is one that the service sets, or has the name of another."""
    headers = given(case, "headers")
    names = [name.lower() for name in headers] if isinstance(headers, dict) else []
    return len(set(names)) < len(names) or any(name in RESERVED or name.startswith(RESERVED_PREFIXES) for name in names)


MAY_BE_REFUSED: dict[str, Callable[[Any], Any]] = {
    "Which cursors a list has given out is known to the list.": lambda case: asked(case, "cursor"),
    "What comes as one stream has no pages: two parameters together.": lambda case: (
        asked(case, "format") == "ndjson" and asked(case, "page_size")
    ),
    "Which encodings there are is known to Python.": lambda case: option(case, "encoding"),
    "JSON in a text: `contentSchema` says of what shape, but validators pass over it.": lambda case: option(
        case, "mapping"
    ),
    "The quotation mark must not be the delimiter: two options together.": lambda case: (
        option(case, "quote") and option(case, "quote") == option(case, "delimiter")
    ),
    "With `atomic` the rules of items, which are judged one by one, hold for the whole request.": lambda case: given(
        case, "atomic"
    ),
    "A NUL may be at any depth of an object of any shape.": lambda case: (
        "\\u0000" in json.dumps(given(case, "attributes"))
    ),
    "The halves of a private key belong together, and a key needs to be of a kind that the endpoint signs with.": (
        lambda case: (
            str(given(case, "secret") or "").startswith("whsk_")
            or (given(case, "secret") and "v1" not in (given(case, "signatures") or ["v1"]))
        )
    ),
    "No pattern takes upper and lower case for the same, as the names of headers are.": refused_header,
}
"""Rules that make the service refuse what the schema allows, and the requests that may break them. Of these alone it is
not asked whether they are accepted."""


def meet_what_is_there(case: Any, there: dict[str, str]) -> None:
    """Put in what only a person who uses the service would know: what there is, and a key that is new."""
    modes = {location: part.mode for location, part in case.meta.components.items()}
    if modes.get(ParameterLocation.PATH) == GenerationMode.POSITIVE:
        case.path_parameters = {name: there.get(name, value) for name, value in case.path_parameters.items()}
    if modes.get(ParameterLocation.HEADER) == GenerationMode.POSITIVE and "Idempotency-Key" in case.headers:
        case.headers["Idempotency-Key"] = str(uuid.uuid4())
    if modes.get(ParameterLocation.BODY) == GenerationMode.POSITIVE and isinstance(case.body, dict):
        if "url" in case.body:
            case.body["url"] = HOOK_URL  # where webhooks may go is known to operators and to name servers
        if "sku" in case.body and "sku" in (case.path_parameters or {}):
            case.body["sku"] = case.path_parameters["sku"]  # one that is given has to be the product's


@schema.parametrize()
@settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
def test_every_operation_answers_as_it_says(case: Any, there: dict[str, str]) -> None:
    meet_what_is_there(case, there)
    fits = case.meta.generation.mode.is_positive
    excluded = [positive_data_acceptance] if fits and any(may(case) for may in MAY_BE_REFUSED.values()) else []
    case.call_and_validate(headers={"Authorization": f"Bearer {there['token']}"}, excluded_checks=excluded)
