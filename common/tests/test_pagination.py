"""Pages by key."""

from __future__ import annotations

from base64 import b64encode
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.contrib.auth import get_user_model
from rest_framework.request import Request
from rest_framework.test import APIRequestFactory

from common.errors import InvalidInputError
from common.pagination import KeysetPages, NewestFirst

pytestmark = pytest.mark.django_db

User = get_user_model()


def page(query: str, pages: KeysetPages | None = None) -> tuple[list[str], dict[str, Any]]:
    """The names on a page of all users, and the body of its answer."""
    pages = pages or KeysetPages()
    found = pages.paginate_queryset(User.objects.all(), Request(APIRequestFactory().get(f"/users/{query}")))
    assert found is not None
    names = [user.username for user in found]
    return names, pages.get_paginated_response(names).data


@pytest.fixture
def people() -> None:
    for name in ("Alice", "Bob", "Charlie"):
        User.objects.create_user(name)


@pytest.mark.usefixtures("people")
def test_it_goes_forth_and_back_in_the_order_of_keys() -> None:
    first, body = page("?page_size=2")
    second, after = page("?" + urlsplit(body["next"]).query)
    again, _ = page("?" + urlsplit(after["previous"]).query)

    assert (first, second, again) == (["Alice", "Bob"], ["Charlie"], ["Alice", "Bob"])
    assert body["previous"] is None
    assert after["next"] is None


@pytest.mark.usefixtures("people")
def test_it_starts_at_the_newest_if_asked() -> None:
    assert page("?page_size=2", NewestFirst())[0] == ["Charlie", "Bob"]


@pytest.mark.parametrize("size", ["0", "-1", "1001", "ten", "", "1e3", "²", "9" * 5000])
def test_it_refuses_a_page_size_that_is_none(size: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        page(f"?page_size={size}")

    assert caught.value.code == "invalid_page_size"


@pytest.mark.parametrize("cursor", ["x", "é", "%00", "!!!!", "p=abc", "p=" + "9" * 30 + "x", "o=-1", "o=99999&r=x"])
def test_it_refuses_a_cursor_that_it_did_not_give_out(cursor: str) -> None:
    encoded = b64encode(cursor.encode()).decode() if "=" in cursor else cursor

    with pytest.raises(InvalidInputError) as caught:
        page(f"?cursor={encoded}")

    assert caught.value.code == "invalid_cursor"
