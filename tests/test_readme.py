"""README.md: what it links to, shows and tells people to run is there."""

from __future__ import annotations

import re

import pytest
from django.conf import settings
from django.core.management import get_commands
from django.urls import resolve

from tests.test_deploy import goes_to_live

ROOT = settings.BASE_DIR
README = (ROOT / "README.md").read_text(encoding="utf-8")
CODE = "\n".join(found[0] or found[1] for found in re.findall(r"```sh\n(.*?)```|`([^`\n]+)`", README, re.DOTALL))
"""Shell blocks, and what stands between backticks."""
LINKS = [link for link in re.findall(r"\]\(([^)#]+)", README) if "://" not in link]
PICTURES = re.findall(r'(?:src|srcset)="([^"]+)"', README)


def unique(found: list[str]) -> list[str]:
    return sorted(set(found))


@pytest.mark.parametrize("target", unique(LINKS + PICTURES))
def test_what_it_links_to_is_there(target: str) -> None:
    assert (ROOT / target).exists()


def test_every_page_of_the_docs_is_linked() -> None:
    pages = {f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")}

    assert pages <= set(LINKS)


@pytest.mark.parametrize("target", unique(re.findall(r"\bmake ([a-z]+)", CODE)))
def test_every_chore_it_names_is_in_the_makefile(target: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")

    assert re.search(rf"^{target}:", makefile, re.MULTILINE)


@pytest.mark.parametrize("command", unique(re.findall(r"manage\.py ([a-z_]+)", CODE)))
def test_every_command_it_names_is_one_of_manage_py(command: str) -> None:
    assert command in get_commands()


@pytest.mark.parametrize(
    "path", unique(re.findall(r"(?:\$HOST|(?:GET|POST|PUT|DELETE) |`)(/[\w/{}$.]*)[`?\s\"]", README))
)
def test_every_address_it_names_is_answered(path: str) -> None:
    an_id = "0190163d-8694-739b-aea5-966c26f8ad90"

    assert resolve(re.sub(r"\{\w+\}|\$ID", an_id, path))


@pytest.mark.parametrize("path", unique(re.findall(r"WS (/[\w/{}-]*)", README)))
def test_every_socket_it_names_is_answered(path: str) -> None:
    assert goes_to_live(path)


def test_every_setting_it_names_is_one() -> None:
    documented = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    compose = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")

    for name in re.findall(r"`([A-Z]+_[A-Z_]+)`", README):
        assert f"`{name.removesuffix('_FILE')}`" in documented or f"${{{name}" in compose
