"""One service for all tests of this folder; each begins with an empty catalogue and a whole service."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import pytest

from odata.tests.running import fresh_folder

pytest.register_assert_rewrite("tests.acceptance.checks", "tests.acceptance.service")

from tests.acceptance.service import Service  # noqa: E402 - not before its asserts can be told in full

_started: list[Service] = []


@pytest.fixture(scope="session")
def running_service() -> Iterator[Service]:
    with fresh_folder() as folder:
        service = Service(folder / "home")
        _started.append(service)
        try:
            service.start_all()
            yield service
        finally:
            service.stop_all()


@pytest.fixture
def service(running_service: Service) -> Iterator[Service]:
    running_service.make_whole()
    running_service.empty()
    yield running_service
    for watcher in running_service.watchers:
        watcher.stop()
    running_service.watchers.clear()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """What the processes said last, below the report of a test that failed."""
    report: Any = yield
    if report.failed and _started:
        report.sections.append(("what the processes said", "\n".join(_started[0].log)))
    return report
