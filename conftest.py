"""What the whole test suite stands on: a throw-away PostgreSQL and Valkey of its own.

`DATABASE_URL` and `REDIS_URL`, where set, name the servers to use instead; pytest-django makes its
own database there in either case. Django is set up after this file is read (pytest.ini names no
settings module on purpose), so the environment below is what the settings see.
"""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings
from django.contrib.auth.hashers import Argon2PasswordHasher
from whitenoise.middleware import WhiteNoiseMiddleware

if TYPE_CHECKING:
    from products.tests.web_server import WebServer

# Not below pytest's own temporary folder: as root, PostgreSQL's user could not reach that.
HOME = Path(tempfile.mkdtemp(prefix="odata-tests-"))
os.environ |= {
    "DJANGO_SETTINGS_MODULE": "odata.settings",
    "ODATA_HOME": str(HOME),
    "SECRET_KEY": "only-for-tests",
    "LOG_LEVEL": os.environ.get("LOG_LEVEL", "WARNING"),
}

from odata.embedded.places import Places  # noqa: E402 - not before the environment is set
from odata.embedded.servers import start_servers  # noqa: E402
from odata.embedded.supervisor import Supervisor  # noqa: E402


def is_shared_out(config: pytest.Config) -> bool:
    """Whether this process only hands tests to others (pytest-xdist), each of which has its own servers."""
    return bool(getattr(config.option, "numprocesses", None)) and not hasattr(config, "workerinput")


def pytest_configure(config: pytest.Config) -> None:
    """Start what is missing, once for the session. All of it stops when pytest ends, however it ends."""
    said: list[str] = []
    supervisor = Supervisor(said.append)

    def clean_up() -> None:
        supervisor.stop_all()
        shutil.rmtree(HOME, ignore_errors=True)

    config.add_cleanup(clean_up)
    assert settings.DATABASES  # pytest-django sets Django up where the settings have been read
    make_passwords_cheap()
    list_static_files_once()
    if is_shared_out(config):
        # Not handed on to the others, which would read the settings before they have a home of their own.
        del os.environ["DJANGO_SETTINGS_MODULE"]
        return
    if config.option.collectonly:
        return
    try:
        start_servers(
            supervisor,
            Places(HOME),
            postgres=not os.environ.get("DATABASE_URL"),
            valkey=not os.environ.get("REDIS_URL"),
            durable=False,
        )
    except Exception as error:
        pytest.exit("\n".join([*said, f"The servers of the tests could not be started: {error}"]), returncode=1)


def make_passwords_cheap() -> None:
    """The same hash with the least work. Each hash tells how it was made, so that other processes check it as well."""
    Argon2PasswordHasher.time_cost = 1
    Argon2PasswordHasher.memory_cost = 8  # KiB
    Argon2PasswordHasher.parallelism = 1


def list_static_files_once() -> None:
    """Each client in a test has middleware of its own; each time, WhiteNoise would go through all static files."""
    listed: dict[str, Any] = {}
    look = WhiteNoiseMiddleware.add_files_from_finders

    def look_once(self: WhiteNoiseMiddleware) -> None:
        if not listed:
            look(self)
            listed.update(self.files)
        self.files.update(listed)

    WhiteNoiseMiddleware.add_files_from_finders = look_once


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Files are numbered: some hold the time at which they were made, and each process must know a test by one name."""
    return argname if isinstance(val, bytes) and len(val) > 20 else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The browser's stories last: Playwright leaves an event loop running in this thread, and tests of
    asynchronous code can't start theirs beside it. Of them the long files first, so that all processes end together."""
    tests = Counter(item.path for item in items if "tests/browser/" in item.path.as_posix())
    items.sort(key=lambda item: (item.path in tests, -tests[item.path]))


def pytest_collection_finish() -> None:
    """What was imported stays: the collection of garbage need not go through it during each test."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> None:
    """Tests with transactions of their own tidy up by what this prepares."""
    from odata.tests import emptying

    with django_db_blocker.unblock():
        emptying.prepare()


@pytest.fixture(scope="module")
def web_process(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebServer]:
    """A web server for all tests of a module, each of which begins with an empty database: see `WebServer.let_in`."""
    from products.tests.web_server import started

    with started(tmp_path_factory.mktemp("web")) as server:
        yield server
