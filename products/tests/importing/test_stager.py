"""The rows of a file in a table of their own."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from django.db import connection
from pytest_django import Settings

from products.importing import stager
from products.importing.reader import open_reader
from products.importing.reporter import Reporter
from products.importing.stager import Chunk, Stager
from products.models import Import
from products.tests.importing.imports import csv, numbered, received, staging_tables

# The reporter writes over a connection of its own.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("file_store")]


@pytest.fixture(autouse=True)
def no_table_left() -> Iterator[None]:
    yield
    stager.drop_abandoned()


def stage(content: str, **options: str) -> tuple[list[Chunk], Reporter, Import]:
    import_ = received(content, **options)
    stager.create(import_)
    with Reporter(import_) as reporter:
        stream = io.BytesIO(content.encode())
        reader = open_reader(stream, total_bytes=import_.bytes_total)
        chunks = list(Stager(import_, reader, reporter).chunks())
    return chunks, reporter, import_


def staged(import_: Import, columns: str) -> list[tuple[object, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {columns} FROM {stager.staging_table(import_)} ORDER BY line_number")
        return list(cursor.fetchall())


def test_it_stages_chunk_by_chunk(settings: Settings) -> None:
    settings.IMPORT_BATCH_SIZE = 4

    chunks, reporter, import_ = stage(numbered(10))

    assert [(chunk.first_line, chunk.last_line, chunk.rows) for chunk in chunks] == [(2, 5, 4), (6, 9, 4), (10, 11, 2)]
    assert chunks[-1].bytes_read == import_.bytes_total
    assert reporter.counts["rows_read"] == len(staged(import_, "sku")) == 10


def test_the_first_chunk_is_small(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.IMPORT_BATCH_SIZE = 5
    monkeypatch.setattr(stager, "FIRST_CHUNK", 2)

    chunks, _, _ = stage(numbered(9))

    assert [chunk.rows for chunk in chunks] == [2, 5, 2]


def test_rejected_rows_are_counted_and_not_staged(settings: Settings) -> None:
    settings.IMPORT_BATCH_SIZE = 2

    chunks, reporter, import_ = stage(csv("sku,name", "A,Lamp", ",x", ",y", ",z", "B,Chair"))

    # A chunk of nothing but rejected rows is no chunk to merge.
    assert [(chunk.first_line, chunk.last_line, chunk.rows) for chunk in chunks] == [(2, 3, 1), (6, 6, 1)]
    assert staged(import_, "line_number, sku") == [(2, "A"), (6, "B")]
    assert reporter.counts["rows_rejected"] == 3


def test_whatever_a_cell_holds_arrives_as_it_is() -> None:
    text = "\\N \\. \t \"quoted\" 'single' \\\\ 灯 \u2028 \U0001f4a1"
    quoted = text.replace('"', '""')

    _, _, import_ = stage(f'sku,name,description\nÄ\\.,Lamp,"{quoted}\r\n\\.\r\n"\n')

    assert staged(import_, "sku, key, description") == [("Ä\\.", "ä\\.", f"{text}\r\n\\.\r\n")]


@pytest.mark.parametrize(("mode", "kept"), [("upsert", [2]), ("create", [2, 3]), ("update", [2, 3])])
def test_the_cells_are_kept_of_rows_that_the_merge_may_yet_reject(mode: str, kept: list[int]) -> None:
    chunks, _, import_ = stage(csv("sku,name,colour", "A,,red", "B,Lamp,blue"), mode=mode)

    assert chunks[0].may_be_unmergeable
    assert [line for (line,) in staged(import_, "CASE WHEN cells IS NOT NULL THEN line_number END") if line] == kept


def test_a_chunk_that_no_merge_can_reject_is_known_as_such() -> None:
    chunks, _, _ = stage(csv("sku,name", "A,Lamp"))

    assert not chunks[0].may_be_unmergeable


def test_the_sweep_drops_the_tables_of_dead_attempts_and_keeps_those_of_running_ones() -> None:
    running = Import.objects.create(state="PROGRESS", attempt=2, bytes_total=1)
    ended = Import.objects.create(state="SUCCESS", attempt=1, bytes_total=1)
    stager.create(running)
    stager.create(Import(pk=running.pk, attempt=1))
    stager.create(ended)
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE staging.import_of_nobody ()")

    stager.drop_abandoned()

    assert {f"staging.{name}" for name in staging_tables()} == {stager.staging_table(running)}
    Import.objects.update(state="FAILURE")
