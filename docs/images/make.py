"""Make the pictures of the pages anew, from a service that runs: `make run SAMPLE=0`, and an administrator made.

    .venv/bin/python docs/images/make.py http://localhost:8000 ada PASSWORD

It imports the sample file of 500,000 products, and takes its page while it is being written; then a file on the upload
page, what it would change, and the admin then. The browser is the program that CHROMIUM names, or `chromium`.
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
CHANGED = (
    "Article code;Title;Colour;Status\n"
    + "".join(
        f"OD-{number:07d};Desk lamp, {colour};{colour};active\n"
        for number, colour in enumerate(["oak", "walnut", "brass", "steel", "linen"] * 40)
    )
    + "OD-9000001;Floor lamp;brass;active\n;Without a code;oak;active\nOD-0000009;Wall lamp;steel;sold\n"
)
WIDTH, HEIGHT = 1180, 880
ADMIN = {"width": 1280, "height": 860}


def write_sample(folder: Path) -> Path:
    """The sample file, as `manage.py up` makes it."""
    sys.path.insert(0, str(FOLDER.parents[1]))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "odata.settings")
    django.setup()
    from odata import sample

    file = folder / "catalogue-2026.csv"
    sample.write_sample(file, ROWS)
    return file


def send(page: Page, url: str, file: Path) -> str:
    """Send a file with the session of this page; returns the address of its import."""
    cookies = {cookie["name"]: cookie["value"] for cookie in page.context.cookies()}
    headers = {"X-CSRFToken": cookies["csrftoken"], "Referer": url}
    with file.open("rb") as body:
        answer = requests.post(
            f"{url}/api/v1/imports/", files={"file": body}, cookies=cookies, headers=headers, timeout=60
        )
    answer.raise_for_status()
    return str(url + answer.json()["links"]["page"])


def shoot(page: Page, name: str) -> None:
    """The page as it is, light and dark."""
    for scheme, ending in (("light", ""), ("dark", "-dark")):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # light or dark
        page.wait_for_timeout(100)
        page.screenshot(path=FOLDER / f"{name}{ending}.png")


def log_in(page: Page, url: str, username: str, password: str) -> None:
    page.goto(f"{url}/login/")
    page.get_by_label("Username").fill(username)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url("**/imports/**")


def take_all(page: Page, url: str, folder: Path) -> None:
    page.goto(send(page, url, write_sample(folder)))
    page.wait_for_function("() => Number(document.querySelector('[data-field=percent]')?.textContent) >= 55")
    shoot(page, "import-page")
    page.wait_for_function("() => document.title.startsWith('Done')")
    (folder / "new-names.csv").write_text(CHANGED, encoding="utf-8")
    page.goto(f"{url}/imports/new/")
    page.get_by_label("File", exact=True).set_input_files(folder / "new-names.csv")
    page.get_by_role("button", name="Keep the others as attributes").click()
    page.get_by_label("Check first").set_checked(True)
    page.locator("[data-preview]").evaluate("part => part.scrollIntoView()")
    shoot(page, "upload-page")
    page.get_by_role("button", name="Upload and check").click()
    page.wait_for_function("() => document.title.startsWith('Checked')")
    shoot(page, "check-page")
    take_admin(page, url)


def take_admin(page: Page, url: str) -> None:
    """Its first page in the light, and the products that a search finds in the dark."""
    page.set_viewport_size(ADMIN)  # type: ignore[arg-type]  # a width and a height
    page.emulate_media(color_scheme="light")
    page.goto(f"{url}/admin/")
    page.screenshot(path=FOLDER / "admin.png")
    page.emulate_media(color_scheme="dark")
    page.goto(f"{url}/admin/products/product/?q=lamp&status=active")
    page.screenshot(path=FOLDER / "admin-products-dark.png")


def main(url: str, username: str, password: str) -> None:
    root = os.geteuid() == 0  # whom Chromium's sandbox refuses
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        program = os.environ.get("CHROMIUM", "/usr/bin/chromium")
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"] if root else [])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        log_in(page, url, username, password)
        take_all(page, url, Path(folder))
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:4])
