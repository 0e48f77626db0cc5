"""Make the pictures of an import's page anew, from a service that runs: `make run SAMPLE=0`, and an administrator made.

    .venv/bin/python docs/images/make.py http://localhost:8000 ada PASSWORD

It imports the sample file of 500,000 products, and takes its page while it is being written. The browser is the
program that CHROMIUM names, or `chromium`.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import django
import requests
from playwright.sync_api import Page, sync_playwright

FOLDER = Path(__file__).parent
ROWS = 500_000
PICTURES = {"light": "import-page.png", "dark": "import-page-dark.png"}
WIDTH, HEIGHT = 1180, 880


def send(page: Page, url: str, rows: int) -> str:
    """Send the sample with the session of this page; returns the address of its import."""
    sys.path.insert(0, str(FOLDER.parents[1]))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "odata.settings")
    django.setup()
    from odata.sample import write_sample

    cookies = {cookie["name"]: cookie["value"] for cookie in page.context.cookies()}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "catalogue-2026.csv"
        write_sample(file, rows)
        headers = {"X-CSRFToken": cookies["csrftoken"], "Referer": url}
        with file.open("rb") as body:
            answer = requests.post(
                f"{url}/api/v1/imports/", files={"file": body}, cookies=cookies, headers=headers, timeout=60
            )
    answer.raise_for_status()
    return str(url + answer.json()["links"]["page"])


def main(url: str, username: str, password: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"))
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.goto(f"{url}/login/")
        page.get_by_label("Username").fill(username)
        page.get_by_label("Password").fill(password)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url("**/imports/**")
        page.goto(send(page, url, ROWS))
        page.wait_for_function("() => Number(document.querySelector('[data-field=percent]')?.textContent) >= 55")
        for scheme, name in PICTURES.items():
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # light or dark
            page.wait_for_timeout(100)
            page.screenshot(path=FOLDER / name)
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:4])
