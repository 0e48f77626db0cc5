"""`Idempotency-Key`: whatever dies or hurries, what a POST asks for is done once, and its answer can be had again."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.contrib.auth.models import Group
from django.core.files.storage import default_storage
from django.db import connection, connections
from django.db.models.functions import Now
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from drf_spectacular.generators import SchemaGenerator
from pytest_django import Settings
from rest_framework.views import APIView

from accounts import idempotency
from accounts.idempotency import IdempotentPosts
from accounts.models import ApiToken, AuditEntry, IdempotentReply, Scope, User
from accounts.tasks import remove_expired_replies
from common import batches
from common.tests.addresses import database_url
from common.tests.waiting import wait_until
from products.models import Import, Product, ProductChange, Upload
from products.tests.importing.test_tasks import messages
from products.tests.listening import listen, types
from products.tests.web_server import running
from webhooks.models import Attempt, EndpointSecret, WebhookEndpoint

pytestmark = pytest.mark.django_db

PRODUCTS, IMPORTS, HOOKS = "/api/v1/products/", "/api/v1/imports/", "/api/v1/webhooks/"
LAMP = {"sku": "LAMP-1", "name": "Lamp"}
CSV = b"sku,name\nLAMP-1,Lamp\n"
HOOK = {"url": "https://93.184.215.14/hook"}
TUS = {"Tus-Resumable": "1.0.0", "Upload-Length": "5"}


class Program:
    """A client of the API with a token; every POST carries a key."""

    def __init__(self, user: User, *scopes: str) -> None:
        _, self.token = ApiToken.issue(user, name="test", scopes=list(scopes or Scope.values))
        self.client = Client(raise_request_exception=False, headers={"Authorization": f"Bearer {self.token}"})

    def post(self, path: str, body: object = None, key: str = "k1", **how: Any) -> Any:
        how = {"data": json.dumps(body), "content_type": "application/json"} | how
        headers = {idempotency.HEADER: key, **how.pop("headers", {})}
        return self.client.post(path, headers=headers, **how)

    def post_form(self, content: bytes, boundary: str, **how: Any) -> Any:
        part = 'Content-Disposition: form-data; name="file"; filename="a.csv"\r\nContent-Type: text/csv\r\n\r\n'
        body = b"".join([f"--{boundary}\r\n{part}".encode(), content, f"\r\n--{boundary}--\r\n".encode()])
        return self.post(IMPORTS, data=body, content_type=f"multipart/form-data; boundary={boundary}", **how)


@pytest.fixture
def ada() -> User:
    return User.objects.create_superuser("ada")


@pytest.fixture
def program(ada: User) -> Program:
    return Program(ada)


def code(answer: Any) -> tuple[int, str]:
    assert answer["Content-Type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"]


def is_replay(answer: Any, first: Any) -> bool:
    """Whether it is the first answer, word for word, and says that it comes again."""
    told = [(each.status_code, each.content, each.get("Location"), each.get("ETag")) for each in (answer, first)]
    assert told[0] == told[1]
    assert answer.get("Content-Type") == first.get("Content-Type")
    assert idempotency.REPLAYED not in first
    return bool(answer[idempotency.REPLAYED] == "true")


# --- done once, answered twice ----------------------------------------------------------------


def test_what_is_sent_twice_is_done_once_and_answered_twice(program: Program) -> None:
    endpoint = listen("product.created")

    first, again = program.post(PRODUCTS, LAMP), program.post(PRODUCTS, LAMP)

    assert (first.status_code, first["Location"]) == (201, f"{PRODUCTS}LAMP-1/")
    assert is_replay(again, first)
    assert (Product.objects.count(), ProductChange.objects.count(), len(types(endpoint))) == (1, 1, 1)


def test_a_key_in_the_quotation_marks_of_the_draft_is_the_same_key(program: Program) -> None:
    first = program.post(PRODUCTS, LAMP, key='"8e03978e-40d5-43e8-bc93-6894a57f9324"')

    assert is_replay(program.post(PRODUCTS, LAMP, key="8e03978e-40d5-43e8-bc93-6894a57f9324"), first)


@pytest.mark.parametrize("key", ["", " ", '""', "a b", "a,b", 'a"b', "a\\b", "x" * 256, "é", "\x7f"])
def test_a_key_that_is_none_is_refused(key: str, program: Program) -> None:
    assert code(program.post(PRODUCTS, LAMP, key=key)) == (400, "idempotency_key_invalid")
    assert not Product.objects.exists()


def test_the_longest_key_is_taken(program: Program) -> None:
    assert program.post(PRODUCTS, LAMP, key="~" * 255).status_code == 201


def test_a_key_is_good_for_one_request_only(program: Program) -> None:
    program.post(PRODUCTS, LAMP)

    for path, body in [
        (PRODUCTS, {**LAMP, "name": "Other"}),
        ("/products/new", LAMP),
        (f"{PRODUCTS}?format=json", LAMP),
    ]:
        assert code(program.post(path, body)) == (422, "idempotency_key_reused")
    assert Product.objects.get().name == "Lamp"


def test_keys_are_a_persons_own_whichever_token_is_used(program: Program, ada: User) -> None:
    first = program.post(PRODUCTS, LAMP)
    other = Program(User.objects.create_superuser("bob"))

    assert is_replay(Program(ada).post(PRODUCTS, LAMP), first)
    assert code(other.post(PRODUCTS, LAMP)) == (409, "sku_taken")


def test_a_refusal_is_not_kept_and_what_is_put_right_may_have_the_same_key(program: Program) -> None:
    assert code(program.post(PRODUCTS, {"sku": "LAMP-1"}))[0] == 400
    Product.objects.create(sku="LAMP-1", name="Other")
    assert code(program.post(PRODUCTS, LAMP)) == (409, "sku_taken")
    Product.objects.all().delete()

    assert program.post(PRODUCTS, LAMP).status_code == 201
    assert IdempotentReply.objects.count() == 1


def test_a_request_without_a_key_stores_nothing(program: Program) -> None:
    program.client.post(PRODUCTS, LAMP, content_type="application/json")

    assert not IdempotentReply.objects.exists()


def test_methods_that_can_be_repeated_anyway_take_no_notice_of_a_key(program: Program) -> None:
    program.post(PRODUCTS, LAMP)
    headers = {idempotency.HEADER: "k1"}
    for name in ("A", "B"):
        answer = program.client.patch(
            f"{PRODUCTS}LAMP-1/", {"name": name}, content_type="application/json", headers=headers
        )
        assert answer.json()["name"] == name


def test_who_may_not_do_it_any_more_gets_no_stored_answer_either() -> None:
    ada = User.objects.create_user("ada")
    ada.groups.add(Group.objects.get(name="editor"))
    program = Program(ada)
    program.post(PRODUCTS, LAMP)

    ada.groups.clear()

    assert code(program.post(PRODUCTS, LAMP)) == (403, "missing_scope")
    ApiToken.objects.all().delete()
    assert code(program.post(PRODUCTS, LAMP)) == (401, "invalid_token")


def test_after_a_day_a_key_is_new_again_and_old_answers_are_removed(program: Program) -> None:
    program.post(PRODUCTS, LAMP)
    program.post(PRODUCTS, {"sku": "LAMP-2", "name": "Lamp"}, key="k2")
    IdempotentReply.objects.update(created_at=Now() - timedelta(hours=23, minutes=59))
    assert program.post(PRODUCTS, LAMP).status_code == 201

    IdempotentReply.objects.update(created_at=Now() - timedelta(hours=24, minutes=1))

    assert code(program.post(PRODUCTS, LAMP)) == (409, "sku_taken")
    program.post(PRODUCTS, {"sku": "LAMP-3", "name": "Lamp"}, key="k3")
    remove_expired_replies()
    assert IdempotentReply.objects.count() == 1  # that of k3


def test_expired_answers_are_removed_some_at_a_time(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "AT_A_TIME", 2)
    for number in range(5):
        program.post(PRODUCTS, {"sku": f"LAMP-{number}", "name": "Lamp"}, key=f"k{number}")
    IdempotentReply.objects.update(created_at=Now() - timedelta(days=2))

    assert idempotency.remove_expired() == 5


# --- every POST -------------------------------------------------------------------------------


def views(resolver: URLResolver | None = None) -> Iterator[Any]:
    for pattern in (resolver or get_resolver()).url_patterns:
        if isinstance(pattern, URLResolver):
            yield from views(pattern)
        elif isinstance(pattern, URLPattern):
            yield pattern.callback


def test_no_post_of_the_api_goes_without() -> None:
    ours = [view for view in views() if issubclass(getattr(view, "cls", object), APIView)]
    with_post = [view.cls for view in ours if "post" in getattr(view, "actions", ()) or hasattr(view.cls, "post")]

    assert len(with_post) > 15
    assert [cls for cls in with_post if not issubclass(cls, IdempotentPosts)] == []


def test_the_schema_tells_of_it_at_each_post_but_the_one_that_refuses_it() -> None:
    paths = SchemaGenerator().get_schema(public=True)["paths"]
    posts = {path: item["post"] for path, item in paths.items() if "post" in item}
    told = {
        path
        for path, post in posts.items()
        if any(parameter["name"] == idempotency.HEADER for parameter in post.get("parameters", ()))
    }

    assert set(posts) - told == {"/api/v1/sockets/tickets/"}
    for path in told:
        assert {"409", "422"} <= set(posts[path]["responses"]), path
        done = [answer for status, answer in posts[path]["responses"].items() if status < "3"]
        assert all(idempotency.REPLAYED in answer["headers"] for answer in done), path
    assert "x-takes" not in json.dumps(paths)


def test_a_ticket_takes_no_key_and_says_why(program: Program) -> None:
    answer = program.post("/api/v1/sockets/tickets/")

    assert code(answer) == (400, "idempotency_key_not_taken")
    assert "30 seconds" in answer.json()["detail"]


def test_an_upload_begins_once(program: Program) -> None:
    first, again = (program.post("/files/", data=b"", content_type="", headers=TUS) for _ in range(2))

    assert first.status_code == 201
    assert is_replay(again, first)
    assert again["Tus-Resumable"] == "1.0.0"
    assert Upload.objects.count() == 1
    other = program.post("/files/", data=b"", content_type="", headers={**TUS, "Upload-Length": "6"})
    assert code(other) == (422, "idempotency_key_reused")


def test_an_upload_that_begins_with_its_bytes_takes_no_key(program: Program) -> None:
    answer = program.post("/files/", data=b"sku\n", content_type="application/offset+octet-stream", headers=TUS)

    assert code(answer) == (400, "idempotency_key_not_taken")
    assert not Upload.objects.exists()


@pytest.mark.usefixtures("file_store")
def test_a_form_sent_again_is_the_same_import_though_its_boundary_is_another(program: Program) -> None:
    first, again = program.post_form(CSV, "one"), program.post_form(CSV, "two")

    assert first.status_code == 202
    assert is_replay(again, first)
    assert Import.objects.count() == 1
    assert len(default_storage.listdir("imports")[1]) == 1
    assert code(program.post_form(CSV + b"LAMP-2,Lamp\n", "three")) == (422, "idempotency_key_reused")


@pytest.mark.usefixtures("file_store")
def test_a_bare_file_sent_again_is_the_same_import(program: Program, settings: Settings) -> None:
    def send(content: bytes, options: str = "") -> Any:
        return program.post(f"{IMPORTS}?{options}", data=content, content_type="text/csv")

    first, again = send(CSV), send(CSV)

    assert first.status_code == 202
    assert is_replay(again, first)
    with default_storage.open(Import.objects.get().stored_file) as file:
        assert file.read() == CSV
    for other in (send(CSV + b"LAMP-2,Lamp\n"), send(CSV, "mode=update")):
        assert code(other) == (422, "idempotency_key_reused")
    assert len(default_storage.listdir("imports")[1]) == 1


@pytest.mark.usefixtures("file_store")
def test_an_import_is_cancelled_once(program: Program) -> None:
    cancel = f"{IMPORTS}{program.post_form(CSV, 'x').json()['id']}/cancel/"

    first, again = program.post(cancel, key="k2"), program.post(cancel, key="k2")

    assert first.status_code == 202
    assert is_replay(again, first)
    assert AuditEntry.objects.filter(action="import.cancelled").count() == 1


def test_an_example_is_sent_to_an_endpoint_once(program: Program) -> None:
    endpoint = WebhookEndpoint.objects.create(url="http://192.0.2.1/hook", event_types=["ping"])
    path = f"{HOOKS}{endpoint.pk}/test/"

    first, again = program.post(path, {}), program.post(path, {})

    assert first.status_code == 200
    assert is_replay(again, first)
    assert Attempt.objects.count() == 1


def test_the_page_explains_every_code() -> None:
    page = (settings.BASE_DIR / "docs" / "api.md").read_text(encoding="utf-8")
    codes = set(re.findall(r'"(idempotency_\w+)"', Path(idempotency.__file__).read_text(encoding="utf-8")))

    assert len(codes) == 5
    assert {code for code in codes if f"`{code}`" not in page} == set()


# --- secrets ----------------------------------------------------------------------------------


def everything_stored() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT r::text FROM accounts_idempotentreply r")
        return "\n".join(row for (row,) in cursor.fetchall())


def test_a_secret_is_shown_again_and_stands_in_no_dump(program: Program) -> None:
    first, again = program.post(HOOKS, HOOK, key="secret-key"), program.post(HOOKS, HOOK, key="secret-key")
    secret = first.json()["secret"]

    assert is_replay(again, first)
    assert secret.startswith("whsec_")
    dump = everything_stored()
    assert IdempotentReply.objects.get().digest in dump
    for hidden in (secret, "whsec_", "secret-key", "93.184"):
        assert hidden not in dump
    assert EndpointSecret.objects.count() == 1


def test_after_a_change_of_the_servers_key_nothing_is_done_twice(program: Program, settings: Settings) -> None:
    program.post(HOOKS, HOOK)

    settings.SECRET_KEY = "another"

    assert code(program.post(HOOKS, HOOK)) == (409, "idempotency_reply_lost")
    assert WebhookEndpoint.objects.count() == 1


# --- what dies, and what hurries --------------------------------------------------------------


@contextmanager
def nothing_can_be_stored() -> Iterator[None]:
    """The database refuses to store an answer."""
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE accounts_idempotentreply ADD CONSTRAINT refuses CHECK (false) NOT VALID")
    try:
        yield
    finally:
        with connection.cursor() as cursor:  # anew: a request that takes a file gives the connection back
            cursor.execute("ALTER TABLE accounts_idempotentreply DROP CONSTRAINT refuses")


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("file_store")
def test_where_the_answer_is_not_stored_nothing_is_done(program: Program) -> None:
    endpoint, waiting = listen(), messages()
    upload = program.post("/files/", data=b"", content_type="", headers=TUS)["Location"]
    headers = {"Tus-Resumable": "1.0.0", "Upload-Offset": "0"}
    program.client.patch(upload, b"sku\nA", content_type="application/offset+octet-stream", headers=headers)

    with nothing_can_be_stored():
        for path, body in [(PRODUCTS, LAMP), (HOOKS, HOOK), (IMPORTS, {"upload": upload})]:
            assert program.post(path, body, key="k2").status_code >= 400

    assert not Product.objects.exists()
    assert not ProductChange.objects.exists()
    assert types(endpoint) == []
    assert list(WebhookEndpoint.objects.all()) == [endpoint]
    assert not Import.objects.exists()
    assert messages() == waiting
    answer = program.post(IMPORTS, {"upload": upload}, key="k2")  # its file is still there
    assert answer.status_code == 202
    assert [task_id for task_id, _ in messages()[len(waiting) :]] == [answer.json()["id"]]


@contextmanager
def sku_held(sku: str) -> Iterator[Callable[[], None]]:
    """Another transaction is about to create this product: who wants to as well has to wait. Gives what lets go."""
    with psycopg.connect(database_url()) as other:
        other.execute("INSERT INTO products_product (sku, name) VALUES (%s, 'Held')", [sku])
        yield other.rollback
        other.rollback()


def somebody_waits() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'transactionid' AND datname = current_database()"
        )
        return bool(cursor.fetchone()[0])


@pytest.mark.django_db(transaction=True)
def test_a_server_error_is_not_kept(program: Program) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '50ms'")
    with sku_held("LAMP-1"):
        assert code(program.post(PRODUCTS, LAMP)) == (503, "busy")

    assert program.post(PRODUCTS, LAMP).status_code == 201


@pytest.mark.django_db(transaction=True)
def test_of_many_at_a_time_one_is_carried_out_and_the_others_are_told_to_wait(program: Program) -> None:
    def post() -> Any:
        try:
            return program.post(PRODUCTS, LAMP)
        finally:
            connections.close_all()

    with sku_held("LAMP-1") as let_go, ThreadPoolExecutor(5) as threads:
        first = threads.submit(post)
        wait_until(somebody_waits, "the first request does not wait")
        others = [each.result() for each in [threads.submit(post) for _ in range(4)]]
        let_go()

    assert [code(other) for other in others] == [(409, "idempotency_key_in_flight")] * 4
    assert {other["Retry-After"] for other in others} == {"1"}
    assert first.result().status_code == 201
    assert is_replay(program.post(PRODUCTS, LAMP), first.result())


@pytest.mark.django_db(transaction=True)
def test_of_many_that_nothing_holds_up_one_product_comes(program: Program) -> None:
    start = threading.Barrier(6)

    def post() -> Any:
        start.wait(10)
        try:
            return program.post(PRODUCTS, LAMP)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as threads:
        answers = [each.result() for each in [threads.submit(post) for _ in range(6)]]

    done = [each for each in answers if each.status_code == 201]
    assert len([each for each in done if idempotency.REPLAYED not in each]) == 1
    assert {code(each) for each in answers if each not in done} <= {(409, "idempotency_key_in_flight")}
    assert ProductChange.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_a_killed_server_leaves_no_key_locked_and_a_new_one_knows_the_answers_of_the_old(
    program: Program, tmp_path: Path
) -> None:
    def post(port: int) -> tuple[int, dict[str, str], Any]:
        headers = {
            "Authorization": f"Bearer {program.token}",
            "Content-Type": "application/json",
            "Host": "localhost",
            idempotency.HEADER: "k1",
        }
        with closing(HTTPConnection("127.0.0.1", port, timeout=20)) as wire:
            wire.request("POST", PRODUCTS, json.dumps(LAMP), headers)
            answer = wire.getresponse()
            return answer.status, dict(answer.headers), json.loads(answer.read())

    with sku_held("LAMP-1"), running(tmp_path) as web, ThreadPoolExecutor(1) as threads:
        lost = threads.submit(post, web.port)
        wait_until(somebody_waits, "the request does not reach the database")
        assert post(web.port)[2]["code"] == "idempotency_key_in_flight"
        for pid in [*web.children(), web.process.pid]:
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(OSError):
            lost.result()

    wait_until(lambda: not somebody_waits(), "PostgreSQL does not see that the client is gone")
    with running(tmp_path) as web:
        status, headers, document = post(web.port)
    assert (status, idempotency.REPLAYED.lower() in headers) == (201, False)
    again = program.post(PRODUCTS, LAMP)  # of this process
    assert (again.status_code, again.json(), again[idempotency.REPLAYED]) == (201, document, "true")
    assert ProductChange.objects.count() == 1
