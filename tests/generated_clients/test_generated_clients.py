"""docs/generated-clients.md, as it stands: clients made from the schema list, write and import, at the real web server.

The generators may not warn: what they can't read is a fault of the schema.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings

from accounts.models import ApiToken, User
from common.tests.waiting import wait_until
from products.importing import pipeline
from products.models import Import
from products.tests.web_server import running

pytestmark = [pytest.mark.django_db(transaction=True)]

FOLDER = Path(__file__).parent
PAGE = (settings.BASE_DIR / "docs" / "generated-clients.md").read_text(encoding="utf-8")
SAID = ["409 sku_taken", "SUCCESS 1 1", "LAMP-1 Lamp of oak", "LAMP-2 Lamp of ash"]
"""Beginnings of the lines that the programs of the page print."""


def shown(language: str) -> str:
    """The one block of the page in this language."""
    (block,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return str(block)


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Where the server is, and a token that may do what the page says it must be able to."""
    with running(tmp_path) as server:
        ada = User.objects.get(username="ada")
        ada.is_superuser = True
        ada.save()
        _, token = ApiToken.issue(ada, name="shop", scopes=["read", "write", "import"])
        programs = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        url = f"http://127.0.0.1:{server.port}"
        yield {"PATH": programs, "HOME": str(tmp_path), "ODATA_URL": url, "ODATA_TOKEN": token}


def finish(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    """What a program says that succeeds."""
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def lines_of(command: list[str], folder: Path, environment: dict[str, str]) -> list[str]:
    """What a program says that imports a file, with this process as the worker."""
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as program:
        try:
            wait_until(lambda: program.poll() is not None or Import.objects.exists(), "there is an import", 30)
            for import_ in Import.objects.all():
                pipeline.run(import_.pk, worker="test")
            out, _ = program.communicate(timeout=30)
        finally:
            program.kill()
    assert program.returncode == 0, out
    return out.splitlines()


def assert_said(lines: list[str]) -> None:
    assert len(lines) == len(SAID), lines
    assert [line[: len(beginning)] for line, beginning in zip(lines, SAID, strict=True)] == SAID


def test_a_python_client_lists_writes_and_imports(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "openapi-python-client.yml").write_text(shown("yaml"))
    (tmp_path / "shop.py").write_text(shown("python"))
    schema = f"{environment['ODATA_URL']}/api/v1/schema/?format=json"
    config = ["--config", "openapi-python-client.yml", "--meta", "none", "--output-path", "odata_api"]

    said = finish(
        ["openapi-python-client", "generate", "--url", schema, *config, "--fail-on-warning"], tmp_path, environment
    )

    assert said.split() == ["Generating", "odata_api"]
    lines = lines_of([sys.executable, "shop.py"], tmp_path, environment)
    assert_said(lines)


def test_a_typescript_client_lists_writes_and_imports(tmp_path: Path, environment: dict[str, str]) -> None:
    node, packages = shutil.which("node"), FOLDER / "node_modules"
    if not node or not (packages / "made.stamp").exists():
        pytest.skip("No client was made in TypeScript: Node 20 and its packages are not here (see `make test`).")
    for name in ("package.json", "tsconfig.json"):
        shutil.copy(FOLDER / name, tmp_path)
    (tmp_path / "node_modules").symlink_to(packages)
    (tmp_path / "client.ts").write_text(shown("ts"))
    schema = f"{environment['ODATA_URL']}/api/v1/schema/?format=json"

    said = finish(["node_modules/.bin/openapi-typescript", schema, "--output", "odata.ts"], tmp_path, environment)

    assert re.fullmatch(r"\S+ openapi-typescript \S+\n\S+ \S+ → odata.ts \[.*\]\n", said), said
    finish(["node_modules/.bin/tsc"], tmp_path, environment)
    lines = lines_of([node, "built/client.js"], tmp_path, environment)
    assert_said(lines)
