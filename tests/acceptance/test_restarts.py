"""A worker that is told to stop (SIGTERM) hands its import over: no loss, no wait, nothing applied twice."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from common.tests.waiting import wait_until
from tests.acceptance.checks import assert_whole
from tests.acceptance.moments import changes, first_file, while_merging, while_staging
from tests.acceptance.service import SECOND_WORKER, Service, Upload

Moment = Callable[[Service, str], AbstractContextManager[Upload]]


@pytest.mark.parametrize("moment", [while_staging, while_merging])
def test_a_worker_that_is_told_to_stop_hands_its_import_to_another(service: Service, moment: Moment) -> None:
    service.import_(first_file())

    with moment(service, changes("red")) as upload:
        service.start(SECOND_WORKER)
        worker = service.supervisor.children["imports"]
        worker.process.send_signal(signal.SIGTERM)
        wait_until(lambda: any("Warm shutdown" in line for line in worker.said), "the worker was told")
    try:
        ended = service.await_end(upload)
    finally:
        service.stop("imports")
        service.start("imports")
        service.stop(SECOND_WORKER)

    assert (ended["state"], ended["attempt"], ended["losses"]) == ("SUCCESS", 2, 0)
    assert ended["worker"].startswith(SECOND_WORKER)
    assert service.has_said("imports", "import_handed_over", upload) == 1
    assert_whole(service)
