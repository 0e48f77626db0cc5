"""docs/api.md: what it tells people to run is run, against a web process of its own."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from django.conf import settings

from accounts.models import User
from accounts.tests.people import token_of
from products import catalogue
from products.tests.web_server import running

PAGE = (settings.BASE_DIR / "docs" / "api.md").read_text(encoding="utf-8")
EXAMPLES = "".join(re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)).replace("\\\n", " ")
NOTING = """
curl() { command curl --silent --show-error --max-time 20 --write-out '%{stderr}%{http_code}\\n' "$@"; }
"""
"""Before the examples: each status, on a line of the standard error."""


def expected() -> list[str]:
    """The status of each request: 200, unless a comment behind it names another."""
    requests = [line for line in EXAMPLES.splitlines() if re.search(r"\bapi (?!\(\))", line) and "api()" not in line]
    noted = [re.search(r"# (\d{3})\b", line) for line in requests]
    return [found[1] if found else "200" for found in noted]


@pytest.mark.django_db(transaction=True)
def test_every_example_does_what_the_page_says(tmp_path: Path) -> None:
    ada = User.objects.create_user("ada")
    _, token = token_of(ada, "read", "write")
    for sku, name in (("LAMP-1", "Lamp"), ("LAMP-2", "Desk lamp"), ("CHAIR-1", "Chair")):
        catalogue.create_product({"sku": sku, "name": name, "attributes": {"colour": "red"}}, actor=ada)

    with running(tmp_path) as server:
        script = NOTING + EXAMPLES.replace("localhost:8000", f"localhost:{server.port}")
        done = subprocess.run(
            ["bash", "-u", "-c", script],
            env={"PATH": os.environ["PATH"], "TOKEN": token},
            capture_output=True,
            text=True,
            timeout=60,
        )

    assert done.stderr.split() == expected()
    assert '"total_estimate":' in done.stdout
    assert re.search(r"^ratelimit: ", done.stdout, re.MULTILINE | re.IGNORECASE)
    assert "There is no product with the sku 'NO-SUCH'." in done.stdout
