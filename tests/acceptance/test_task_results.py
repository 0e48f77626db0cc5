"""What the tasks of the clean-up came to is kept, for who looks after the service; of the sweeps nothing is."""

from __future__ import annotations

from celery import Celery

from common.tests.waiting import wait_until
from odata.connections import broker_address
from tests.acceptance.service import Service

KEPT = "SELECT task_name, status, result FROM django_celery_results_taskresult"


def test_a_clean_up_leaves_word_of_what_it_removed_and_the_sweeps_leave_none(service: Service) -> None:
    with Celery(broker=broker_address(service.places.redis_url), set_as_current=False) as queue:
        queue.send_task("products.tasks.remove_orphan_files", queue="default")

    wait_until(lambda: service.query(KEPT), "the result of the clean-up")

    assert service.query(KEPT) == [
        {"task_name": "products.tasks.remove_orphan_files", "status": "SUCCESS", "result": '{"files": 0}'}
    ]
