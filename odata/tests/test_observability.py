"""The settings of Sentry and OpenTelemetry: wrong ones are refused in words before anything starts."""

from __future__ import annotations

import pytest

from odata import observability


@pytest.mark.parametrize("dsn", ["", "https://key@o1.ingest.sentry.io/42", "http://key@10.0.0.7:9000/sentry/3"])
def test_a_dsn_is_taken_as_sentry_shows_it(dsn: str) -> None:
    assert not list(observability.problems(dsn, ""))


@pytest.mark.parametrize(
    "dsn", ["s3cret", "https://sentry.io/42", "https://s3cret@host/", "ftp://key@host/1", "http://k@h:x/1"]
)
def test_anything_else_is_refused_without_showing_it(dsn: str) -> None:
    (problem,) = observability.problems(dsn, "")

    assert str(problem).startswith("SENTRY_DSN is (hidden)") and dsn not in str(problem)


def test_a_collector_is_named_by_its_address() -> None:
    (problem,) = observability.problems("", "collector:4317")

    assert "OTEL_EXPORTER_OTLP_ENDPOINT is 'collector:4317' and must be the http:// or https://" in str(problem)


def test_packages_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(observability.PACKAGES, "SENTRY_DSN", ("not_there", "not_there.either", "django"))

    (problem,) = observability.problems("https://key@host/1", "http://collector:4318")

    assert "needs not_there, not_there.either: `pip install -r requirements-extras.txt`" in str(problem)
