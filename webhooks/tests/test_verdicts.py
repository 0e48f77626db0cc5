"""What an answer means for its delivery, and for its endpoint."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from webhooks.verdicts import judge


@dataclass
class Answered:
    status: int | None
    error: str = ""
    reply_headers: dict[str, str] = field(default_factory=dict)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_2xx_is_a_success(status: int) -> None:
    assert judge(Answered(status), 1, None).state == "delivered"


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 401, 404, 410, 429, 500, 502, 504, 101])
def test_every_other_answer_is_tried_again(status: int) -> None:
    verdict = judge(Answered(status), 1, None)

    assert verdict.state == "pending"
    assert 4 <= verdict.delay <= 6


@pytest.mark.parametrize(
    "error", ["dns", "tls", "connect", "connection", "timeout", "refused", "protocol", "unexpected"]
)
def test_every_error_is_tried_again(error: str) -> None:
    assert judge(Answered(None, error), 1, None).state == "pending"


def test_after_the_last_attempt_it_has_failed() -> None:
    assert judge(Answered(500), 10, None).state == "failed"
    assert judge(Answered(500), 1, []).state == "failed"


def test_the_receiver_may_ask_for_a_longer_pause() -> None:
    assert judge(Answered(503, reply_headers={"retry-after": "900"}), 1, None).delay == 900


def test_gone_and_the_word_disable_turn_the_endpoint_off_and_keep_the_delivery() -> None:
    gone, asked = judge(Answered(410), 10, None), judge(Answered(500, "", {"webhook-delivery": "Disable"}), 1, None)

    assert gone.turns_off and asked.turns_off
    assert (gone.state, asked.state) == ("pending", "pending")


def test_the_word_disable_counts_with_a_success_too() -> None:
    verdict = judge(Answered(200, "", {"webhook-delivery": "disable"}), 1, None)

    assert (verdict.state, bool(verdict.turns_off)) == ("delivered", True)


def test_the_word_abort_message_gives_this_delivery_up() -> None:
    verdict = judge(Answered(500, "", {"webhook-delivery": "abort-message"}), 1, None)

    assert (verdict.state, verdict.turns_off) == ("failed", "")


def test_words_that_nobody_knows_mean_nothing() -> None:
    assert judge(Answered(500, "", {"webhook-delivery": "whatever"}), 1, None).state == "pending"
