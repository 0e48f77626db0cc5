"""Never lost, never twice: what is left of an import when something dies in the middle of it.

After each test `assert_whole` holds the catalogue, its history and all counts against an oracle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

import psutil
import psycopg
import pytest

from common.tests.waiting import wait_until
from tests.acceptance.checks import assert_whole
from tests.acceptance.moments import (
    await_blocked,
    catalogue_taken,
    changes,
    first_file,
    held_up,
    just_after_the_commit,
    while_merging,
    while_staging,
)
from tests.acceptance.service import Service, Upload

Moment = Callable[[Service, str], AbstractContextManager[Upload]]

# --- workers that die --------------------------------------------------------------------------


def test_a_worker_killed_while_staging_is_replaced_and_nothing_is_applied_twice(service: Service) -> None:
    service.import_(first_file())

    with while_staging(service, changes("red")) as upload:
        service.kill_child(upload)

    ended = service.await_end(upload)
    assert (ended["state"], ended["attempt"], ended["losses"]) == ("SUCCESS", 2, 1)
    assert_whole(service)


def test_a_worker_killed_while_merging_is_replaced_and_nothing_is_applied_twice(service: Service) -> None:
    service.import_(first_file())

    with while_merging(service, changes("red")) as upload:
        service.kill_child(upload)

    ended = service.await_end(upload)
    assert (ended["state"], ended["attempt"], ended["losses"]) == ("SUCCESS", 2, 1)
    assert_whole(service)


def test_a_worker_killed_just_after_the_commit_leaves_a_finished_import(service: Service) -> None:
    service.import_(first_file())

    with just_after_the_commit(service, changes("red")) as upload:
        assert service.row(upload)["state"] == "SUCCESS"
        service.kill_child(upload)

    assert service.row(upload)["attempt"] == 1
    assert_whole(service)


@pytest.mark.parametrize("moment", [while_staging, while_merging])
def test_an_import_goes_on_when_its_whole_worker_was_killed_and_another_starts(
    service: Service, moment: Moment
) -> None:
    service.import_(first_file())

    with moment(service, changes("red")) as upload:
        service.kill("imports")
    service.start("imports")

    ended = service.await_end(upload)
    assert (ended["state"], ended["attempt"], ended["losses"]) == ("SUCCESS", 2, 1)
    assert_whole(service)


def test_a_file_over_which_three_workers_die_is_given_up(service: Service) -> None:
    with catalogue_taken(service):
        upload = service.upload(first_file())
        for attempt in (1, 2, 3):
            wait_until(partial(service.is_at_attempt, upload, attempt), f"attempt {attempt}")
            service.kill_child(upload)

        ended = service.await_end(upload)

    assert (ended["state"], ended["error_code"]) == ("FAILURE", "worker_lost")
    assert ended["error_message"].startswith("3 workers in a row vanished over this file")
    wait_until(lambda: service.row(upload)["stored_file"].startswith("errors/"), "the file set aside")
    assert_whole(service)
    service.import_(first_file())  # others go on


# --- a queue that is emptied or away -----------------------------------------------------------


def test_an_emptied_queue_loses_neither_the_import_that_runs_nor_the_one_that_waits(service: Service) -> None:
    service.import_(first_file())

    with while_merging(service, changes("red")) as running:
        waiting = service.upload(changes("blue"))
        service.empty_valkey()
        service.age_message(waiting)
    later = service.upload(changes("green"))

    for upload in (running, waiting, later):
        ended = service.await_end(upload)
        assert (ended["state"], ended["attempt"]) == ("SUCCESS", 1)
    assert_whole(service)


def test_an_upload_is_taken_while_the_queue_stops_and_imported_when_it_is_back(service: Service) -> None:
    text = first_file()

    upload = service.upload(text, Interrupted(text.encode(), lambda: service.kill("valkey")))

    row = service.row(upload)
    assert (row["state"], row["dispatched_at"]) == ("PENDING", None)
    service.start_valkey()
    assert service.await_end(upload)["state"] == "SUCCESS"
    assert_whole(service)


def test_an_import_goes_on_without_the_queue_and_the_worker_takes_another_when_it_is_back(service: Service) -> None:
    service.import_(first_file())

    with while_merging(service, changes("red")) as upload:
        service.stop("valkey")

    ended = service.await_end(upload)
    assert (ended["state"], ended["attempt"]) == ("SUCCESS", 1)
    service.start_valkey()
    service.import_(changes("blue"))
    assert_whole(service)


class Interrupted:
    """A request's body, in the middle of which something happens."""

    def __init__(self, content: bytes, event: Callable[[], None]) -> None:
        self._rest, self._length, self._event = content, len(content), event

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[bytes]:
        half = self._length // 2
        yield self._rest[:half]
        self._event()
        yield self._rest[half:]


# --- a database that throws its clients out ----------------------------------------------------


def terminate(service: Service, session: int) -> None:
    """As an operator or a failover does."""
    service.execute("SELECT pg_terminate_backend(%s)", session)


def crash(service: Service, session: int) -> None:
    """One session dies, and with it all others; PostgreSQL recovers, and its UNLOGGED tables are empty."""
    psutil.Process(session).kill()
    wait_until(lambda: "all server processes terminated" in "".join(service.log), "PostgreSQL starts anew", 20)
    wait_until(lambda: answers(service), "PostgreSQL answers", 20)


def answers(service: Service) -> bool:
    try:
        service.query("SELECT 1")
    except psycopg.OperationalError:
        return False
    return True


@pytest.mark.parametrize("fault", [terminate, crash])
@pytest.mark.parametrize("moment", [while_staging, while_merging])
def test_an_import_whose_database_session_dies_is_done_again_from_the_start(
    service: Service, moment: Moment, fault: Callable[[Service, int], None]
) -> None:
    service.import_(first_file())

    with moment(service, changes("red")) as upload:
        fault(service, upload.session)

    ended = service.await_end(upload)
    assert (ended["state"], ended["attempt"]) == ("SUCCESS", 2)
    # A server that takes longer to recover than the lease lasts leaves the worker no time to give the import back.
    assert ended["losses"] == 0 or fault is crash
    assert_whole(service)


# --- what was checked before, and what is taken back -------------------------------------------


@contextmanager
def while_applying(service: Service, text: str) -> Iterator[Upload]:
    """While the worker merges a file that was checked before."""
    upload = service.check(text)
    with held_up(service) as hold:
        service.apply(upload)
        upload.session = await_blocked(service, by=hold)
        yield upload


@contextmanager
def while_undoing(service: Service, text: str) -> Iterator[Upload]:
    """While the worker undoes the import of a file."""
    done = service.import_(text)
    with held_up(service) as hold:
        upload = service.undo(done)
        upload.session = await_blocked(service, by=hold)
        yield upload


@pytest.mark.parametrize("moment", [while_applying, while_undoing])
def test_a_worker_killed_while_it_applies_or_undoes_is_replaced(service: Service, moment: Moment) -> None:
    service.import_(first_file())

    with moment(service, changes("red")) as upload:
        service.kill_child(upload)

    ended = service.await_end(upload)
    assert (ended["state"], ended["losses"]) == ("SUCCESS", 1)
    assert_whole(service)


@pytest.mark.parametrize("fault", [terminate, crash])
def test_an_undo_whose_database_session_dies_is_done_again(
    service: Service, fault: Callable[[Service, int], None]
) -> None:
    service.import_(first_file())

    with while_undoing(service, changes("red")) as upload:
        fault(service, upload.session)

    assert service.await_end(upload)["state"] == "SUCCESS"
    assert_whole(service)


def test_a_checked_file_that_a_crash_of_the_database_has_emptied_is_shown_again_and_then_applied(
    service: Service,
) -> None:
    service.import_(first_file())
    upload = service.check(changes("red"))
    (session,) = service.query("SELECT pid FROM pg_stat_activity WHERE application_name = 'odata-beat' LIMIT 1") or (
        service.query("SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'odata-%%' LIMIT 1")
    )
    crash(service, session["pid"])

    service.apply(upload)

    wait_until(lambda: service.row(upload)["stale"], "it is shown again")
    service.apply(upload)
    assert service.await_end(upload)["state"] == "SUCCESS"
    assert_whole(service)


def test_a_discarded_check_leaves_nothing(service: Service) -> None:
    service.import_(first_file())
    upload = service.check(changes("red"))

    service.cancel(upload)

    assert service.await_end(upload)["state"] == "CANCELLED"
    assert_whole(service)


# --- people who change their minds -------------------------------------------------------------


@pytest.mark.parametrize("moment", [while_staging, while_merging])
def test_a_cancelled_import_leaves_the_catalogue_as_it_was(service: Service, moment: Moment) -> None:
    service.import_(first_file())

    with moment(service, changes("red")) as upload:
        service.cancel(upload)

    ended = service.await_end(upload, 10)
    assert (ended["state"], ended["error_code"], ended["attempt"]) == ("CANCELLED", "cancelled", 1)
    assert_whole(service)


def test_an_import_that_is_committed_is_not_cancelled_any_more(service: Service) -> None:
    service.import_(first_file())

    with just_after_the_commit(service, changes("red")) as upload:
        answer = service.post(f"/api/v1/imports/{upload.id}/cancel/")

    assert (answer.status_code, answer.json()["code"]) == (409, "import_finished")
    assert_whole(service)
