"""Identifiers that sort by the time they were made."""

from __future__ import annotations

import time
import uuid

from common.ids import uuid7


def test_ids_sort_in_the_order_in_which_they_were_made() -> None:
    made = [uuid7() for _ in range(10_000)]

    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_an_id_is_a_uuid_of_version_7_with_the_time_in_it() -> None:
    before = time.time_ns() // 1_000_000
    made = uuid7()

    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert before <= made.int >> 80 <= time.time_ns() // 1_000_000 + 100
