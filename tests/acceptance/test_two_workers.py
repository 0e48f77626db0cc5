"""Never lost, never twice, with two workers that may get into each other's way."""

from __future__ import annotations

from collections.abc import Iterator

import psutil
import pytest

from common.tests.waiting import wait_until
from tests.acceptance.checks import assert_whole
from tests.acceptance.moments import (
    are_queueing,
    await_queueing,
    catalogue_taken,
    changes,
    first_file,
    in_reverse,
    while_merging,
)
from tests.acceptance.service import SECOND_WORKER, Service, Upload


@pytest.fixture(autouse=True, scope="module")
def second_worker(running_service: Service) -> Iterator[None]:
    running_service.start(SECOND_WORKER)
    yield
    running_service.stop(SECOND_WORKER)


def said(service: Service, event: str, upload: Upload) -> int:
    """How often either worker logged this event of the import."""
    return sum(service.has_said(worker, event, upload) for worker in ("imports", SECOND_WORKER))


def test_a_message_that_comes_twice_is_worked_on_once(service: Service) -> None:
    service.import_(first_file())

    with while_merging(service, changes("red")) as upload:
        service.send_again(upload)
        wait_until(lambda: said(service, "task_succeeded", upload) == 1, "the other worker took the copy")
    ended = service.await_end(upload)
    service.send_again(upload)
    wait_until(lambda: said(service, "task_succeeded", upload) == 3, "the late copy was taken too")

    assert (ended["state"], ended["attempt"]) == ("SUCCESS", 1)
    assert service.row(upload) == ended
    assert_whole(service)


def test_two_files_with_the_same_products_in_reverse_order_are_applied_one_after_the_other(service: Service) -> None:
    service.import_(first_file())

    with catalogue_taken(service):
        uploads = [service.upload(changes("red")), service.upload(in_reverse(changes("blue")))]
        await_queueing(service, workers=2)

    for upload in uploads:
        ended = service.await_end(upload)
        assert (ended["state"], ended["attempt"]) == ("SUCCESS", 1)
    assert_whole(service)


def test_a_worker_that_comes_back_from_the_dead_writes_nothing_more(service: Service) -> None:
    service.import_(first_file())
    with catalogue_taken(service):
        upload = service.upload(changes("red"))
        zombie = suspended(service, upload)
    ended = service.await_end(upload)

    zombie.resume()

    wait_until(lambda: said(service, "import_lease_lost", upload), "it finds that it was given up")
    wait_until(lambda: said(service, "import_ended", upload) == 2, "it lets go")
    assert (ended["state"], ended["attempt"], ended["losses"]) == ("SUCCESS", 2, 1)
    assert service.row(upload) == ended
    assert_whole(service)


def suspended(service: Service, upload: Upload) -> psutil.Process:
    """The child that does the import, stopped while it waits for the catalogue, and not within a write of its own:
    a row that it has locked could not be taken from it before PostgreSQL ends its session."""
    while True:
        await_queueing(service, workers=1)
        child = service.child_of(upload)
        child.suspend()
        if are_queueing(service, workers=1):
            return child
        child.resume()
