"""The docs name what the code has, and nothing that it has not."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from django.conf import settings

from odata.processes import Process, processes
from products.models import Import, ReportedRow
from webhooks.event_types import EVENT_TYPES

ROOT: Path = settings.BASE_DIR
DOCS = ROOT / "docs"
ARCHITECTURE = (DOCS / "architecture.md").read_text(encoding="utf-8")
GLOSSARY = (DOCS / "glossary.md").read_text(encoding="utf-8")
WEBHOOKS = (DOCS / "webhooks.md").read_text(encoding="utf-8")
PAGES = sorted(DOCS.rglob("*.md"))
IMPORTING = ROOT / "products" / "importing"


def modules() -> list[str]:
    return sorted(path.name for path in IMPORTING.glob("*.py") if path.name != "__init__.py")


def events() -> set[str]:
    """Every type of event that the code writes to the outbox."""
    sources = [path for path in (ROOT / "products").rglob("*.py") if "tests" not in path.parts]
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    text = re.sub(r"audit\.record\w*\([^\n]*", "", text)  # the audit log has words of its own
    return set(re.findall(r'"((?:import|products?)\.[a-z]+ed)"', text))


@pytest.mark.parametrize("module", modules())
def test_the_architecture_names_every_module_of_an_import(module: str) -> None:
    assert f"`{module}`" in ARCHITECTURE


@pytest.mark.parametrize("process", processes(), ids=lambda process: process.name)
def test_the_architecture_names_every_process(process: Process) -> None:
    assert f"| {process.name} |" in ARCHITECTURE


def test_the_architecture_names_every_event() -> None:
    assert events()
    for event in events():
        assert f"`{event}`" in ARCHITECTURE


def test_every_event_that_is_written_is_described_and_the_docs_list_them_as_the_code_does() -> None:
    listed = re.findall(r"^\| `([a-z]+\.[a-z]+|ping)` \| (.*) \|$", WEBHOOKS, re.MULTILINE)

    assert listed == [(each.name, each.sentence) for each in EVENT_TYPES.values()]
    assert events() <= set(EVENT_TYPES)


def test_the_docs_show_the_example_of_the_code() -> None:
    shown = [json.loads(block) for block in re.findall(r"^```json\n(.*?)^```", WEBHOOKS, re.MULTILINE | re.DOTALL)]

    assert EVENT_TYPES["product.updated"].example in shown


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`([\w/]+\.py|[\w/]+/)`", ARCHITECTURE))))
def test_what_the_architecture_names_is_there(name: str) -> None:
    assert any((folder / name).exists() for folder in (ROOT, IMPORTING, ROOT / "webhooks"))


@pytest.mark.parametrize("statement", ["create_staging", "copy_staging", "take_duplicates", "merge_chunk"])
def test_the_statements_it_sends_people_to_are_there(statement: str) -> None:
    assert f"`{statement}`" in ARCHITECTURE
    assert (IMPORTING / "sql" / f"{statement}.sql").exists()


@pytest.mark.parametrize("word", [*Import.State.values, *Import.Phase.values])
def test_the_glossary_explains_every_state_and_phase(word: str) -> None:
    assert f"`{word}`" in GLOSSARY


@pytest.mark.parametrize("word", Import.Standing.labels)
def test_the_glossary_explains_what_pages_call_an_import(word: str) -> None:
    assert f"| {word} |" in GLOSSARY


@pytest.mark.parametrize("word", [*ReportedRow.Outcome.values, "created", "updated", "unchanged"])
def test_the_glossary_explains_what_becomes_of_a_row(word: str) -> None:
    assert re.search(rf"^\|[^|]*\b{word}\b", GLOSSARY, re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), target


def test_decisions_are_numbered_one_by_one() -> None:
    numbers = [path.name[:4] for path in sorted((DOCS / "decisions").glob("*.md"))]

    assert numbers == [f"{number:04}" for number in range(1, len(numbers) + 1)]


def test_the_threat_model_names_tests_that_are_there() -> None:
    text = (DOCS / "security.md").read_text(encoding="utf-8") + (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w/]+/test_\w+\.py)`", text))

    assert len(named) > 20
    assert [path for path in sorted(named) if not (ROOT / path).is_file()] == []
