"""Sockets of imports: who may watch, and that what they see is the truth, to the end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
from channels.layers import get_channel_layer
from channels.routing import URLRouter
from channels.testing import WebsocketCommunicator
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import Group, Permission
from django.utils import timezone
from redis import Redis

from accounts.models import ApiToken, User
from accounts.tests.people import token_of
from products import consumers, hub, progress
from products.models import Import
from products.routing import websocket_urlpatterns

pytestmark = pytest.mark.django_db(transaction=True)

application = URLRouter(websocket_urlpatterns)
OUR_PAGE = "http://localhost:8000"


# --- the people ----------------------------------------------------------------------------------


@pytest.fixture
def alice(transactional_db: None) -> User:
    """She uploaded the file."""
    return User.objects.create_user("alice")


@pytest.fixture
def charlie(transactional_db: None) -> User:
    """A stranger."""
    return User.objects.create_user("charlie")


@pytest.fixture
def import_(alice: User) -> Import:
    now = timezone.now()
    return Import.objects.create(
        state="PROGRESS",
        phase="staging",
        version=1,
        percent=10,
        rows_read=100,
        bytes_total=1000,
        file_name="shoes.csv",
        created_by=alice,
        started_at=now,
        heartbeat_at=now,
    )


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """After each test no feed, task or seat of a socket remains."""
    yield
    assert hub.HUB._feeds == {}
    assert hub.HUB._tasks == {}
    assert hub.HUB._listening is None
    assert not consumers.SEATS._taken


def bearer(user: User, *scopes: str) -> dict[str, str]:
    _, full = token_of(user, *(scopes or ("read",)))
    return {"authorization": f"Bearer {full}"}


def session_cookie(user: User) -> dict[str, str]:
    """As Django's login leaves it."""
    session = import_module(settings.SESSION_ENGINE).SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    return {"cookie": f"{settings.SESSION_COOKIE_NAME}={session.session_key}"}


# --- the sockets ---------------------------------------------------------------------------------


class Socket(WebsocketCommunicator):
    """A client's end."""

    async def document(self, timeout: float = 8) -> Any:
        return json.loads(await self.receive_from(timeout))

    async def until(self, condition: Callable[[Any], bool], timeout: float = 8) -> Any:
        async with asyncio.timeout(timeout):
            while not condition(document := await self.document(timeout)):
                pass
        return document

    async def close_code(self, timeout: float = 8) -> int:
        message = await self.receive_output(timeout)
        assert message["type"] == "websocket.close", message
        return int(message["code"])


@asynccontextmanager
async def opened(path: str, headers: dict[str, str] | None = None) -> AsyncIterator[Socket]:
    """A socket that was accepted, by a client on our host."""
    texts = {"host": "localhost:8001", **(headers or {})}
    socket = Socket(application, path, [(name.encode(), value.encode()) for name, value in texts.items()])
    accepted, _ = await socket.connect(timeout=8)
    assert accepted
    try:
        yield socket
    finally:
        await socket.disconnect(timeout=8)
        await hub.HUB.at_rest()


def path_of(import_: Import) -> str:
    return f"/ws/imports/{import_.pk}/"


in_database = hub.DatabaseThreads("test", 2).run


def advance(import_: Import, *, tell: bool = True, **fields: Any) -> None:
    """What a worker does: the row first, then the word about it."""
    Import.objects.filter(pk=import_.pk).update(**fields)
    if tell:
        progress.publish(Import.objects.get(pk=import_.pk))


SUCCEEDED = {"state": "SUCCESS", "phase": "finished", "percent": 100, "version": 99}


# --- who may watch -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers", [{}, {"authorization": "Bearer odata_nobody_knows"}, {"cookie": "sessionid=made-up"}]
)
async def test_it_closes_with_4401_on_those_it_does_not_know(import_: Import, headers: dict[str, str]) -> None:
    async with opened(path_of(import_), headers) as socket:
        assert await socket.close_code() == 4401


async def test_a_wrong_token_is_not_saved_by_a_good_session(import_: Import, alice: User) -> None:
    headers = await in_database(session_cookie, alice)

    async with opened(path_of(import_), headers | {"authorization": "Bearer odata_nobody_knows"}) as socket:
        assert await socket.close_code() == 4401


@pytest.mark.parametrize("scope", ["read", "import"])
async def test_it_shows_an_import_to_the_token_of_its_owner(import_: Import, alice: User, scope: str) -> None:
    async with opened(path_of(import_), await in_database(bearer, alice, scope)) as socket:
        document = await socket.document()

    assert document["id"] == str(import_.pk)
    assert document["state"] == "PROGRESS"
    assert document["created_by"] == "alice"


async def test_it_closes_with_4403_on_a_token_that_may_neither_read_nor_import(import_: Import, alice: User) -> None:
    async with opened(path_of(import_), await in_database(bearer, alice, "write")) as socket:
        assert await socket.close_code() == 4403


async def test_it_shows_an_import_to_the_session_of_its_owner(import_: Import, alice: User) -> None:
    headers = await in_database(session_cookie, alice)

    async with opened(path_of(import_), headers | {"origin": OUR_PAGE}) as socket:
        assert (await socket.document())["version"] == 1


@pytest.mark.parametrize("import_id", ["01890a5d-ac96-774b-bcce-b302099a8057", "42", "%00", "' or 1=1"])
async def test_it_closes_with_4404_on_an_id_that_is_unknown(alice: User, import_id: str) -> None:
    async with opened(f"/ws/imports/{import_id}/", await in_database(bearer, alice)) as socket:
        assert await socket.close_code() == 4404


async def test_it_closes_with_4404_on_what_is_somebody_elses(import_: Import, charlie: User) -> None:
    async with opened(path_of(import_), await in_database(bearer, charlie)) as socket:
        assert await socket.close_code() == 4404


async def test_staff_who_may_view_imports_see_everybodys(import_: Import, charlie: User) -> None:
    await in_database(charlie.user_permissions.add, await in_database(Permission.objects.get, codename="view_import"))

    async with opened(path_of(import_), await in_database(bearer, charlie)) as socket:
        assert (await socket.document())["id"] == str(import_.pk)


@pytest.mark.parametrize("path", ["/", "/ws/", "/ws/imports/", "/ws/imports/1/2/", "/admin/"])
async def test_it_closes_with_4404_on_any_other_path(path: str) -> None:
    async with opened(path) as socket:
        assert await socket.close_code() == 4404


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "http://localhost.evil.example",
        "http://localhost@evil.example",
        "file://",
        "http://[",
        "",
    ],
)
async def test_it_turns_pages_of_others_away_at_the_door(import_: Import, alice: User, origin: str) -> None:
    headers = {"host": "localhost:8001", "origin": origin} | await in_database(session_cookie, alice)
    socket = Socket(application, path_of(import_), [(name.encode(), text.encode()) for name, text in headers.items()])

    accepted, _ = await socket.connect(timeout=8)

    assert not accepted


@pytest.mark.parametrize("origin", ["http://localhost:8000", "http://127.0.0.1:3000", "https://shop.example.com"])
async def test_it_lets_pages_of_our_own_and_of_trusted_origins_in(
    import_: Import, alice: User, settings: Any, origin: str
) -> None:
    settings.CSRF_TRUSTED_ORIGINS = ["https://*.example.com"]
    headers = await in_database(session_cookie, alice)

    async with opened(path_of(import_), headers | {"origin": origin}) as socket:
        assert (await socket.document())["version"] == 1


async def test_where_every_host_is_allowed_the_page_must_be_of_the_host_that_was_asked(
    import_: Import, alice: User, settings: Any
) -> None:
    settings.ALLOWED_HOSTS = ["*"]
    cookie = await in_database(session_cookie, alice)
    evil = {"host": "shop.example:8001", "origin": "http://evil.example"} | cookie

    async with opened(path_of(import_), {"host": "shop.example:8001", "origin": "http://shop.example:8000"} | cookie):
        pass
    accepted, _ = await Socket(
        application, path_of(import_), [(name.encode(), text.encode()) for name, text in evil.items()]
    ).connect(timeout=8)

    assert not accepted


async def test_a_person_has_a_bounded_number_of_sockets(import_: Import, alice: User, settings: Any) -> None:
    settings.LIVE_SOCKETS_PER_USER = 1
    headers = await in_database(bearer, alice)

    async with opened(path_of(import_), headers) as first:
        await first.document()
        async with opened(path_of(import_), headers) as second:
            assert await second.close_code() == 4429
    async with opened(path_of(import_), headers) as third:
        await third.document()


# --- what takes the right away -------------------------------------------------------------------


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sockets ask again in a moment instead of after half a minute."""
    monkeypatch.setattr(consumers, "RECHECK_SECONDS", (0.1, 0.2))


async def test_it_closes_after_a_logout(import_: Import, alice: User, soon: None) -> None:
    headers = await in_database(session_cookie, alice)
    session_key = headers["cookie"].split("=")[1]

    async with opened(path_of(import_), headers) as socket:
        await socket.document()
        await in_database(import_module(settings.SESSION_ENGINE).SessionStore(session_key).flush)
        assert await socket.close_code() == 4401


async def test_it_closes_when_the_password_was_changed(import_: Import, alice: User, soon: None) -> None:
    headers = await in_database(session_cookie, alice)

    async with opened(path_of(import_), headers) as socket:
        await socket.document()
        alice.set_password("a new password")
        await in_database(alice.save)
        assert await socket.close_code() == 4401


@pytest.mark.parametrize(
    ("loss", "code"),
    [
        (lambda alice: ApiToken.objects.all().delete(), 4401),
        (lambda alice: ApiToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1)), 4401),
        (lambda alice: User.objects.update(is_active=False), 4401),
        (lambda alice: ApiToken.objects.update(scopes=["write"]), 4403),
        (lambda alice: Import.objects.update(created_by=None), 4404),
    ],
)
async def test_it_closes_when_the_right_is_lost(
    import_: Import, alice: User, soon: None, loss: Callable[[User], Any], code: int
) -> None:
    async with opened(path_of(import_), await in_database(bearer, alice)) as socket:
        await socket.document()
        await in_database(loss, alice)
        while (message := await socket.receive_output(8))["type"] == "websocket.send":
            pass  # the import that lost its owner may be shown once more before the socket asks again
        assert message["code"] == code


async def test_it_closes_on_who_lost_the_role_that_let_them_see_it(import_: Import, charlie: User, soon: None) -> None:
    role = await in_database(Group.objects.get, name="admin")
    await in_database(charlie.groups.add, role)

    async with opened(path_of(import_), await in_database(session_cookie, charlie)) as socket:
        await socket.document()
        await in_database(charlie.groups.remove, role)
        assert await socket.close_code() == 4404


def test_it_asks_again_within_a_minute() -> None:
    assert max(consumers.RECHECK_SECONDS) <= 50  # and 10 s are left for the answer


async def test_it_closes_when_the_import_is_deleted(import_: Import, alice: User) -> None:
    async with opened(path_of(import_), await in_database(bearer, alice)) as socket:
        await socket.document()
        await in_database(import_.delete)
        assert await socket.close_code() == 4404


# --- what they see -------------------------------------------------------------------------------


async def test_it_tells_what_the_layer_says_sooner_than_it_reads_the_row(
    import_: Import, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "REREAD_SECONDS", 60)
    async with opened(path_of(import_), await in_database(bearer, alice)) as socket:
        await socket.document()
        await has_joined(import_)

        await in_database(advance, import_, version=2, percent=50)

        assert (await socket.document())["percent"] == 50


async def test_the_end_is_told_and_then_the_socket_closed(import_: Import, alice: User) -> None:
    async with opened(path_of(import_), await in_database(bearer, alice)) as socket:
        await socket.document()

        await in_database(advance, import_, **SUCCEEDED)

        assert (await socket.document())["state"] == "SUCCESS"
        assert await socket.close_code() == 1000


async def test_the_end_arrives_even_if_the_layer_never_says_a_word(import_: Import, alice: User) -> None:
    async with opened(path_of(import_), await in_database(bearer, alice)) as socket:
        await socket.document()

        await in_database(advance, import_, tell=False, **SUCCEEDED)

        assert (await socket.document())["state"] == "SUCCESS"


async def test_the_end_of_a_row_is_told_whatever_its_version(import_: Import, alice: User) -> None:
    async with opened(path_of(import_), await in_database(bearer, alice)) as socket:
        await socket.document()

        await in_database(advance, import_, tell=False, state="FAILURE", version=0, error_code="lost")

        assert (await socket.document())["error"]["code"] == "lost"


async def test_an_end_that_is_not_in_the_row_is_not_told(import_: Import, alice: User) -> None:
    async with opened(path_of(import_), await in_database(bearer, alice)) as socket:
        await socket.document()
        await has_joined(import_)

        import_.state, import_.version = "SUCCESS", 50
        progress.publish(import_)
        await in_database(advance, import_, version=51, percent=60)

        document = await socket.document()
        assert (document["state"], document["version"]) == ("PROGRESS", 51)


async def test_who_comes_late_sees_the_end_at_once(import_: Import, alice: User) -> None:
    await in_database(advance, import_, **SUCCEEDED)

    async with opened(path_of(import_), await in_database(bearer, alice)) as socket:
        assert (await socket.document(timeout=2))["state"] == "SUCCESS"
        assert await socket.close_code() == 1000


async def test_a_second_tab_sees_the_row_and_not_what_the_first_saw_last(import_: Import, alice: User) -> None:
    headers = await in_database(bearer, alice)
    async with opened(path_of(import_), headers) as first:
        await first.document()
        await in_database(advance, import_, tell=False, version=2, percent=77)

        async with opened(path_of(import_), headers) as second:
            assert (await second.document())["percent"] == 77
            assert (await first.document())["percent"] == 77


async def test_an_older_version_is_not_told(import_: Import, alice: User) -> None:
    async with opened(path_of(import_), await in_database(bearer, alice)) as socket:
        await socket.document()
        await has_joined(import_)
        await in_database(advance, import_, version=10, percent=40)
        assert (await socket.document())["version"] == 10

        for version in (3, 9, 10):
            import_.version = version
            await asyncio.to_thread(progress.publish, import_)
        await in_database(advance, import_, version=11, percent=41)

        assert (await socket.document())["version"] == 11


async def test_a_stall_is_told_though_nothing_is_written(import_: Import, alice: User) -> None:
    await in_database(advance, import_, tell=False, heartbeat_at=timezone.now() - timedelta(seconds=8))

    async with opened(path_of(import_), await in_database(bearer, alice)) as socket:
        assert not (await socket.document())["stalled"]
        assert (await socket.document())["stalled"]


async def test_a_task_is_told_in_the_words_of_a_task(import_: Import, alice: User) -> None:
    path = f"/webhooks/task-monitor/{import_.pk}"
    async with opened(path, await in_database(bearer, alice)) as socket:
        begin = await socket.document()
        await in_database(advance, import_, **SUCCEEDED)
        end = await socket.until(lambda status: status["status"] != "PROGRESS")

    assert (begin["task_id"], begin["status"], begin["progress"]) == (str(import_.pk), "PROGRESS", 10)
    assert (end["status"], end["progress"], end["state"]) == ("SUCCESS", 100, "SUCCESS")


# --- when Valkey fails ---------------------------------------------------------------------------


async def test_an_emptied_valkey_is_joined_again(import_: Import, alice: User, settings: Any) -> None:
    async with opened(path_of(import_), await in_database(bearer, alice)) as socket:
        await socket.document()
        await has_joined(import_)

        with Redis.from_url(settings.REDIS_URL) as valkey:
            await asyncio.to_thread(valkey.flushdb)

        await has_joined(import_)
        await layer_is_heard(import_, socket)


async def test_without_valkey_the_rows_are_read_and_the_end_still_arrives(
    import_: Import, alice: User, settings: Any
) -> None:
    settings.CHANNEL_LAYERS = nobody_listens()
    async with opened(path_of(import_), await in_database(bearer, alice)) as socket:
        assert (await socket.document(timeout=2))["version"] == 1
        await in_database(advance, import_, version=2, percent=50)
        assert (await socket.document(timeout=3))["percent"] == 50
        await in_database(advance, import_, **SUCCEEDED)
        assert (await socket.document(timeout=3))["state"] == "SUCCESS"


async def test_a_valkey_that_comes_back_is_heard_again(import_: Import, alice: User, settings: Any) -> None:
    working = settings.CHANNEL_LAYERS
    settings.CHANNEL_LAYERS = nobody_listens()
    async with opened(path_of(import_), await in_database(bearer, alice)) as socket:
        await socket.document()

        settings.CHANNEL_LAYERS = working

        await layer_is_heard(import_, socket)


# --- many, and rude ones -------------------------------------------------------------------------


async def test_many_watchers_of_one_import_cost_one_member_of_its_group(import_: Import, alice: User) -> None:
    headers = await in_database(bearer, alice)
    sockets = [
        Socket(application, path_of(import_), [(b"authorization", headers["authorization"].encode())])
        for _ in range(50)
    ]
    for socket in sockets:
        await socket.connect(timeout=8)
    await asyncio.gather(*(socket.document() for socket in sockets))
    members = await has_joined(import_)

    await in_database(advance, import_, **SUCCEEDED)
    ends = await asyncio.gather(*(socket.until(lambda document: document["state"] == "SUCCESS") for socket in sockets))
    codes = await asyncio.gather(*(socket.close_code() for socket in sockets))
    await asyncio.gather(*(socket.disconnect(timeout=8) for socket in sockets))
    await hub.HUB.at_rest()

    assert members == 1
    assert len(ends) == 50
    assert set(codes) == {1000}


async def test_the_group_is_left_when_nobody_watches(import_: Import, alice: User) -> None:
    async with opened(path_of(import_), await in_database(bearer, alice)) as socket:
        await socket.document()
        await has_joined(import_)

    async with asyncio.timeout(5):
        while await members_of(import_):
            await asyncio.sleep(0.01)


async def test_what_a_client_says_is_ignored(import_: Import, alice: User) -> None:
    async with opened(path_of(import_), await in_database(bearer, alice)) as socket:
        await socket.document()
        await socket.send_to(text_data='{"type": "import.snapshot"}')
        await socket.send_to(bytes_data=b"\x00")
        await in_database(advance, import_, **SUCCEEDED)
        assert (await socket.document())["state"] == "SUCCESS"


async def test_a_client_that_says_a_lot_is_closed_with_4413(import_: Import, alice: User) -> None:
    async with opened(path_of(import_), await in_database(bearer, alice)) as socket:
        await socket.document()
        await socket.send_to(text_data="x" * (64 * 1024 + 1))
        assert await socket.close_code() == 4413


async def test_a_client_that_does_not_stop_talking_is_closed_with_4429(import_: Import, alice: User) -> None:
    async with opened(path_of(import_), await in_database(bearer, alice)) as socket:
        await socket.document()
        for _ in range(2 * consumers.MAX_FRAMES_PER_MINUTE + 2):
            await socket.send_to(text_data="hello?")
        assert await socket.close_code() == 4429


# --- waiting -------------------------------------------------------------------------------------


async def members_of(import_: Import) -> int:
    layer = get_channel_layer()
    return int(await layer.connection(0).zcard(layer._group_key(progress.group_name(import_.pk))))


async def has_joined(import_: Import) -> int:
    """Wait until the hub is a member of the import's group; how many members there are."""
    async with asyncio.timeout(8):
        while not (members := await members_of(import_)):
            await asyncio.sleep(0.01)
    return members


async def layer_is_heard(import_: Import, socket: Socket) -> None:
    """Say over the layer what is not in the row, until the socket shows it: it can't have it from elsewhere."""
    async with asyncio.timeout(8):
        while True:
            import_.version += 1
            progress.publish(import_)
            if not await socket.receive_nothing(timeout=0.1):
                assert (await socket.document())["version"] > 1
                return


def nobody_listens() -> dict[str, Any]:
    """The layer's setting with an address where there is no server."""
    host = {"address": "redis://127.0.0.1:1/0"}
    return {"default": {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"hosts": [host]}}}
