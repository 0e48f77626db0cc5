"""`manage.py issue_token`."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from accounts.authentication import authenticate_token
from accounts.models import ApiToken, User
from accounts.tests.people import entitle

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice() -> User:
    return entitle(User.objects.create_user("alice"), "import")


def issue(*args: str) -> tuple[str, str]:
    """What the command writes to stdout and to stderr."""
    out, err = StringIO(), StringIO()
    call_command("issue_token", *args, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def test_it_prints_the_token_alone_and_explains_it_aside(alice: User) -> None:
    out, err = issue("alice", "--name", "shop", "--scopes", "read,import")

    token = authenticate_token(out.removesuffix("\n"))
    assert token is not None
    assert (token.user, token.name, token.scopes, token.expires_at) == (alice, "shop", ["read", "import"], None)
    assert "this once only" in err
    assert 'curl -H "Authorization: Bearer $TOKEN"' in err
    assert out.strip() not in err


@pytest.mark.usefixtures("alice")
@pytest.mark.parametrize(
    ("text", "ahead"), [("30d", timedelta(days=30)), ("12h", timedelta(hours=12)), ("8W", timedelta(weeks=8))]
)
def test_it_issues_tokens_that_expire(text: str, ahead: timedelta) -> None:
    issue("alice", "--name", "shop", "--scopes", "read", "--expires-in", text)

    expires_at = ApiToken.objects.get().expires_at
    assert expires_at is not None
    assert abs(expires_at - timezone.now() - ahead) < timedelta(minutes=1)


@pytest.mark.usefixtures("alice")
@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["bob", "--name", "shop", "--scopes", "read"], "no user 'bob'"),
        (["alice", "--name", "shop", "--scopes", "read,fly"], "Unknown scope fly"),
        (["alice", "--name", "shop", "--scopes", ","], "No scope is given"),
        (["alice", "--name", "shop", "--scopes", "read,write"], "'alice' has no right to write, .* Give them a role"),
        (["alice", "--name", " ", "--scopes", "read"], "--name needs"),
        (["alice", "--name", "x" * 101, "--scopes", "read"], "--name needs"),
        (["alice", "--name", "shop", "--scopes", "read", "--expires-in", "soon"], "such as 30d"),
        (["alice", "--name", "shop", "--scopes", "read", "--expires-in", "0d"], "such as 30d"),
        (["alice", "--name", "shop", "--scopes", "read", "--expires-in", "9999999w"], "at most"),
        (["alice", "--name", "shop"], "--scopes"),
    ],
)
def test_it_says_what_is_wrong(args: list[str], words: str) -> None:
    with pytest.raises(CommandError, match=words):
        issue(*args)

    assert not ApiToken.objects.exists()


def test_it_issues_nothing_for_somebody_who_is_switched_off(alice: User) -> None:
    User.objects.update(is_active=False)

    with pytest.raises(CommandError, match="switched off"):
        issue("alice", "--name", "shop", "--scopes", "read")
