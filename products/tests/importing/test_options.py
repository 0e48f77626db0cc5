from __future__ import annotations

import pytest

from common.errors import InvalidInputError
from products.importing.options import ImportOptions, Limit


def test_it_has_defaults_for_everything() -> None:
    assert ImportOptions.parse({}) == ImportOptions("upsert", "skip", "100,10%")
    assert ImportOptions.parse({"mode": "", "on_error": " ", "max_rejects": ""}) == ImportOptions()


def test_it_takes_what_is_asked_for() -> None:
    options = ImportOptions.parse({"mode": "update", "on_error": "abort", "max_rejects": " 5 % , 20", "other": "x"})

    assert options == ImportOptions("update", "abort", "20,5%")


def test_it_names_every_option_that_it_does_not_understand() -> None:
    with pytest.raises(InvalidInputError) as caught:
        ImportOptions.parse({"mode": "replace", "on_error": "ignore", "max_rejects": "many"})

    assert [(error.pointer, error.code) for error in caught.value.errors] == [
        ("/mode", "invalid_choice"),
        ("/on_error", "invalid_choice"),
        ("/max_rejects", "invalid"),
    ]
    assert "“replace”" in caught.value.detail
    assert "upsert, create, update" in caught.value.detail
    assert "100,10%" in caught.value.detail


@pytest.mark.parametrize(
    ("text", "rejected", "rows", "exceeded"),
    [
        ("100", 100, 100, False),
        ("100", 101, 1_000_000, True),
        ("0", 0, 5, False),
        ("0", 1, 5, True),
        ("10%", 10, 100, False),
        ("10%", 11, 100, True),
        ("0.5%", 6, 1000, True),
        ("100,10%", 101, 1010, False),
        ("100,10%", 101, 1009, True),
        ("100,10%", 20, 20, False),
        ("10%,100", 100, 100, False),
        ("none", 1_000_000, 1_000_000, False),
    ],
)
def test_it_stops_a_file_with_too_many_rejects(text: str, rejected: int, rows: int, exceeded: bool) -> None:
    assert Limit.parse(text).exceeded(rejected, rows) is exceeded


@pytest.mark.parametrize("text", ["", "-1", "1,2", "5%,6%", "101%", "x", "100,", "1e3", "10 000", "none,5", "١"])
def test_it_refuses_a_limit_that_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="100,10%"):
        Limit.parse(text)


@pytest.mark.parametrize("text", ["none", "7", "2.5%", "100,10%", "999999999999,99.999%"])
def test_a_limit_is_written_as_it_is_read(text: str) -> None:
    assert str(Limit.parse(text)) == text


def test_it_says_why_the_import_was_stopped() -> None:
    assert (
        Limit.parse("100,10%")
        .sentence(1_200, 5_000)
        .startswith("1,200 of the first 5,000 rows were rejected, more than 100 rows and 10 % of the rows.")
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("mapping", "[" * 50_000),
        ("mapping", '{"\\u0000": "sku"}'),
        ("mapping", '{"\\ud800": ""}'),
        ("sheet", "Tab\0"),
        ("quote", "\ud800"),
        ("header_line", "000000001" + "9" * 3),
        ("header_line", "000000001" * 1_000),
    ],
    ids=["nested", "nul in a header", "half a character", "nul in a name", "half a mark", "far behind", "huge"],
)
def test_what_no_file_can_have_is_refused(name: str, text: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        ImportOptions.parse({name: text})

    assert {error.pointer for error in caught.value.errors} == {f"/{name}"}
    assert caught.value.detail.encode()
