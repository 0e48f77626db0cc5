"""The file `.env`: what it sets, and what is said of one that can't be read."""

from __future__ import annotations

from pathlib import Path

import environ
import pytest

from common.env import load_dotenv


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """One of the test's own."""
    plain: dict[str, str] = {"PORT": "8000"}
    monkeypatch.setattr(environ.Env, "ENVIRON", plain)
    return plain


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the `.env` goes."""
    return tmp_path / ".env"


def test_it_sets_what_the_environment_does_not(file: Path, environment: dict[str, str]) -> None:
    file.write_bytes(
        b"\xef\xbb\xbf# the port\r\nPORT=9000\r\n\r\nexport ENV_A=a b\r\n  ENV_B='c#d' \r\n   # no more\r\n"
    )

    problems = load_dotenv(file)

    assert problems == []
    assert environment == {"PORT": "8000", "ENV_A": "a b", "ENV_B": "c#d"}


def test_there_need_be_none(file: Path) -> None:
    assert load_dotenv(file) == []


def test_one_that_can_not_be_read_is_no_missing_one(file: Path) -> None:
    file.mkdir()
    assert [str(problem) for problem in load_dotenv(file)] == [f"{file} can't be read: Is a directory."]


def test_one_in_another_encoding_is_said_to_be_so(file: Path) -> None:
    file.write_bytes("EMAIL_FROM=Müller".encode("latin-1"))
    assert [str(problem) for problem in load_dotenv(file)] == [f"{file} can't be read: it is not text in UTF-8."]


def test_a_line_that_sets_nothing_is_named_without_what_it_holds(
    file: Path, environment: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    file.write_text("ENV_A=a\nSECRET_KEY = canary\nENV_B=b\n")

    problems = [str(problem) for problem in load_dotenv(file)]

    assert problems == [f"{file} has a line 2 that is no NAME=value, nor a comment that begins with #."]
    assert environment == {"PORT": "8000", "ENV_A": "a", "ENV_B": "b"}
    assert "canary" not in caplog.text
