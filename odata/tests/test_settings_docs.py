"""`.env.example` and docs/settings.md say of every setting what the code says, and of no other."""

from __future__ import annotations

import re

import pytest
from django.conf import settings

from common.env import Setting
from odata.environment import SETTINGS

DOCS = (settings.BASE_DIR / "docs" / "settings.md").read_text(encoding="utf-8")
EXAMPLE = (settings.BASE_DIR / ".env.example").read_text(encoding="utf-8")
NAMES = [setting.name for setting in SETTINGS]


@pytest.mark.parametrize("setting", SETTINGS, ids=NAMES)
def test_docs_tell_default_and_meaning(setting: Setting) -> None:
    default = f"`{setting.default}`" if setting.default else "*unset*"
    secret = " *Secret.*" if setting.secret else ""

    row = f"| `{setting.name}` | {default} | {setting.help}{secret} |"

    assert row in DOCS.splitlines()


@pytest.mark.parametrize("setting", SETTINGS, ids=NAMES)
def test_example_file_tells_default_and_meaning(setting: Setting) -> None:
    before, found, _ = EXAMPLE.partition(f"\n#{setting.name}={setting.default}\n")

    comment = " ".join(before.rpartition("\n\n")[2].replace("# ", "").split())

    assert found
    assert comment == " ".join(setting.help.split())


def test_neither_tells_of_a_setting_that_is_not_there() -> None:
    in_docs = re.findall(r"^\| `([A-Z][A-Z0-9_]+)` \|", DOCS, re.MULTILINE)
    in_example = re.findall(r"^#([A-Z0-9_]+)=", EXAMPLE, re.MULTILINE)

    assert in_docs == NAMES
    assert in_example == NAMES
