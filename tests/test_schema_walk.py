"""Schemathesis sends what the OpenAPI document allows, and what it forbids, to every operation in it.

Operations that are added later are walked without a word here. The requests are the same in each run: they are
derived from the code, not from chance. How many there are of each operation is SCHEMA_EXAMPLES.

All checks but one: that whatever fits the schema is accepted. No schema can say which cursors a list has given out, or
which columns a file must have for a mapping to fit. And of forms, that whatever does not fit is refused.
"""

from __future__ import annotations

import gc
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from accounts.models import ApiToken, Scope, User
from common.whole_bodies import WholeBodies
from products.models import Product

EXAMPLES = int(os.environ.get("SCHEMA_EXAMPLES", "12"))
# Not `odata.wsgi`: to import that makes a web process of this one, and of all programs that tests start later.
application = WholeBodies(get_wsgi_application())


def read_to_the_end(environ: Any, start_response: Any) -> list[bytes]:
    """The application, with each answer closed as a web server does it: streamed ones would keep their places."""
    answer: Any = application(environ, start_response)
    try:
        return [b"".join(answer)]
    finally:
        answer.close()


schema = schemathesis.openapi.from_wsgi("/api/v1/schema/?format=json", read_to_the_end)
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
def token(tmp_path: Path) -> str:
    """One that may do everything, in a service that holds a product."""
    ada = User.objects.create_superuser("ada", password=None)
    Product.objects.create(sku="LAMP-1", name="Lamp")
    return ApiToken.issue(ada, name="test", scopes=Scope.values)[1]


@schema.parametrize()
@settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
def test_every_operation_answers_as_it_says(case: Any, token: str) -> None:
    excluded = [positive_data_acceptance]
    if case.media_type == "multipart/form-data":
        excluded.append(negative_data_rejection)  # a form holds texts: 0 is one for false
    case.call_and_validate(headers={"Authorization": f"Bearer {token}"}, excluded_checks=excluded)
