"""`odata-client`, as scripts run it: a process of its own, against the real web server."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import threading
import tomllib
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.urls import NoReverseMatch, reverse
from pytest_django import Settings

from accounts.models import ApiToken, User
from common.tests.waiting import wait_until
from products.importing import pipeline, uploads
from products.models import Import, Product, Upload
from products.tests.web_server import WebServer
from webhooks.models import WebhookEndpoint

pytestmark = [pytest.mark.django_db(transaction=True)]

CLIENT = settings.BASE_DIR / "client"
MODULE = CLIENT / "odata_client.py"
PAGE = (settings.BASE_DIR / "docs" / "client.md").read_text(encoding="utf-8")
BIG = 8_000_000
"""Bytes of a file that does not fit into the buffers between client and server."""


@pytest.fixture
def server(web_process: WebServer) -> Iterator[WebServer]:
    web_process.let_in()
    yield web_process
    for path in (settings.ODATA_HOME / "files" / uploads.FOLDER).glob("*"):
        path.unlink()


class Shell:
    """Runs the client with ada's token and a home of its own."""

    def __init__(self, home: Path, port: int, token: str) -> None:
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "ODATA_URL": f"http://127.0.0.1:{port}",
            "ODATA_TOKEN": token,
        }

    def start(self, *arguments: object, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(MODULE), *map(str, arguments)],
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: object, **environment: str) -> tuple[int, str, str]:
        """Exit code, stdout and stderr."""
        return ended(self.start(*arguments, **environment))

    def documents(self, *arguments: object) -> list[Any]:
        """What a command that succeeds says on stdout, line by line."""
        code, out, err = self.run(*arguments)
        assert code == 0, err
        return [json.loads(line) for line in out.splitlines()]


def ended(client: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = client.communicate(timeout=60)
    return client.returncode, out, err


@pytest.fixture
def shell(server: WebServer, tmp_path: Path) -> Shell:
    ada = User.objects.get(username="ada")
    ada.is_superuser = True
    ada.save()
    _, token = ApiToken.issue(ada, name="client", scopes=["read", "write", "import", "webhooks"])
    return Shell(tmp_path, server.port, token)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    file = tmp_path / "small.csv"
    file.write_text("sku,name\nLAMP-1,Lamp\nLAMP-2,\nLAMP-3,Lamp\n")
    return file


def import_watched(shell: Shell, *arguments: object) -> tuple[int, str, str]:
    """`import --watch`, with this process as the worker."""
    client = shell.start("import", "--watch", *arguments)
    import_ = wait_until(Import.objects.first)
    pipeline.run(import_.pk, worker="test")
    return ended(client)


class Line:
    """A relay before the server, whose connections can be cut. Counts the bytes that clients sent."""

    def __init__(self, to: int) -> None:
        self.to = to
        self.passed = 0
        self.cut_after: int | None = None
        self.stalls = False
        """Whether it then swallows what comes, rather than hang up."""
        self.answers_to_lose = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.to))
            threading.Thread(target=self._up, args=(client, server), daemon=True).start()
            threading.Thread(target=self._down, args=(server, client), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        with closing(client), closing(server):
            while piece := self._receive(client):
                self.passed += len(piece)
                if self.cut_after is not None and self.passed > self.cut_after:
                    while self.stalls and self._receive(client):
                        pass
                    self.cut_after = None  # once
                    hang_up(server, client)
                    return
                try:
                    server.sendall(piece)
                except OSError:
                    break
            hang_up(server)

    def _down(self, server: socket.socket, client: socket.socket) -> None:
        try:
            while piece := self._receive(server):
                if self.answers_to_lose:
                    self.answers_to_lose -= 1
                    break
                client.sendall(piece)
        except OSError:
            pass
        hang_up(client)

    def _receive(self, wire: socket.socket) -> bytes:
        try:
            return wire.recv(65536)
        except OSError:
            return b""


def hang_up(*wires: socket.socket) -> None:
    for wire in wires:
        try:
            wire.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


@contextmanager
def line_to(server: WebServer) -> Iterator[Line]:
    line = Line(server.port)
    try:
        yield line
    finally:
        hang_up(line.listener)
        line.listener.close()


@pytest.fixture
def big(tmp_path: Path) -> Path:
    file = tmp_path / "big.csv"
    row = "SKU-{:07},Lamp " + 200 * "x" + "\n"
    with file.open("w") as out:
        out.write("sku,name\n")
        for number in range(BIG // 220):
            out.write(row.format(number))
    return file


# --- importing ---------------------------------------------------------------------------------


def test_a_file_is_imported_and_the_document_of_its_end_is_on_stdout(shell: Shell, small: Path) -> None:
    code, out, err = import_watched(shell, small, "--on-error", "skip", "--max-rejects", "10")

    document = json.loads(out)
    assert (code, document["state"], document["file_name"]) == (0, "SUCCESS", "small.csv")
    assert (document["rows_created"], document["rows_rejected"]) == (2, 1)
    assert "success" in err and "100%" in err


def test_strict_makes_rejected_rows_a_failure_of_the_command(shell: Shell, small: Path) -> None:
    assert import_watched(shell, small, "--strict", "--max-rejects", "10")[0] == 5


def test_a_failed_import_is_a_failure_of_the_command(shell: Shell, small: Path) -> None:
    code, out, _ = import_watched(shell, small, "--on-error", "abort")

    assert (code, json.loads(out)["state"]) == (3, "FAILURE")


def test_without_watch_the_command_ends_when_the_file_is_there(shell: Shell, small: Path) -> None:
    (document,) = shell.documents("--quiet", "import", small, "--mode", "update", "--mapping", '{"name": ""}')

    assert (document["state"], document["mode"], document["mapping"]) == ("PENDING", "update", {"name": ""})


def test_an_upload_that_is_cut_goes_on_where_it_was_cut(server: WebServer, shell: Shell, big: Path) -> None:
    with line_to(server) as line:
        line.cut_after = BIG // 2
        (document,) = shell_by(shell, line).documents("import", big)

    assert line.cut_after is None, "it was not cut"
    assert document["bytes_total"] == big.stat().st_size
    assert stored(document) == big.read_bytes()
    assert line.passed < big.stat().st_size * 1.25, "bytes that were there were sent once more"


def test_a_client_that_is_killed_is_gone_on_with_by_the_next(server: WebServer, shell: Shell, big: Path) -> None:
    with line_to(server) as line:
        line.cut_after, line.stalls = BIG // 2, True
        first = shell_by(shell, line).start("import", big)
        wait_until(lambda: line.passed > BIG // 2)
        first.kill()
        first.communicate()
        wait_until(lambda: line.cut_after is None)
        line.passed = 0
        (document,) = shell_by(shell, line).documents("import", big)

    assert Upload.objects.count() == 1
    assert stored(document) == big.read_bytes()
    assert line.passed < big.stat().st_size * 0.75


def test_an_upload_that_the_server_has_forgotten_begins_anew(shell: Shell, small: Path, tmp_path: Path) -> None:
    shell.documents("import", small)
    notes = tmp_path / ".local" / "state" / "odata-client"
    assert list(notes.iterdir()) == [], "a finished import is no longer noted"

    (name,) = names_of_notes(shell, small)
    (notes / name).write_text(f"/files/{uuid.uuid4()}")

    assert len(shell.documents("import", small)) == 1


def test_a_client_that_is_interrupted_while_it_watches_finds_the_same_import(shell: Shell, small: Path) -> None:
    first = shell.start("import", "--watch", small)
    import_ = wait_until(Import.objects.first)
    first.terminate()
    first.communicate()

    again = shell.start("import", "--watch", small, "--max-rejects", "10")
    pipeline.run(import_.pk, worker="test")

    assert json.loads(ended(again)[1])["id"] == str(import_.pk)
    assert Import.objects.count() == 1


def shell_by(shell: Shell, line: Line) -> Shell:
    return Shell(Path(shell.environment["HOME"]), line.port, shell.environment["ODATA_TOKEN"])


def stored(document: Any) -> bytes:
    return Path(settings.ODATA_HOME / "files" / Import.objects.get(pk=document["id"]).stored_file).read_bytes()


def names_of_notes(shell: Shell, file: Path) -> list[str]:
    """The names of the notes that the client keeps of this file."""
    code = (
        "import sys, pathlib, odata_client; print(odata_client.Notes(sys.argv[1], pathlib.Path(sys.argv[2])).path.name)"
    )
    command = [sys.executable, "-c", code, f"{shell.environment['ODATA_URL']}/", str(file)]
    return subprocess.run(command, cwd=CLIENT, check=True, capture_output=True, text=True).stdout.split()


# --- reading -----------------------------------------------------------------------------------


@pytest.fixture
def lamps(transactional_db: None) -> None:
    for number in range(5):
        Product.objects.create(sku=f"A/{number}", name=f"Lamp {number}", status="inactive" if number else "active")


def test_products_are_lines_of_json_through_all_pages(lamps: None, shell: Shell) -> None:
    found = shell.documents("products")

    assert [product["sku"] for product in found] == [f"A/{number}" for number in range(5)]
    assert len(shell.documents("products", "--limit", "2")) == 2
    assert [product["sku"] for product in shell.documents("products", "--status", "active")] == ["A/0"]


def test_one_product_is_found_by_any_sku(lamps: None, shell: Shell) -> None:
    assert [product["name"] for product in shell.documents("products", "A/3")] == ["Lamp 3"]


def test_an_export_is_a_whole_file_or_a_stream(lamps: None, shell: Shell, tmp_path: Path) -> None:
    (said,) = shell.documents("export", "-o", tmp_path / "all.csv")
    code, out, _ = shell.run("export", "--columns", "sku", "--status", "active")

    assert said["bytes"] == (tmp_path / "all.csv").stat().st_size
    assert (tmp_path / "all.csv").read_text(encoding="utf-8-sig").count("Lamp") == 5
    assert not list(tmp_path.glob("*.part"))
    assert (code, out.lstrip("\ufeff").split()) == (0, ["sku", "A/0"])


# --- webhooks ----------------------------------------------------------------------------------


def test_webhooks_are_made_listed_tested_and_deleted(shell: Shell) -> None:
    try:
        reverse("api-endpoint-detail", args=[uuid.uuid4()])
    except NoReverseMatch:
        pytest.skip("this server has no REST of webhooks")
    (made,) = shell.documents("webhooks", "create", "https://93.184.215.14/hook", "--event", "product.updated")
    assert made["secret"]

    assert [(each["id"], each["event_types"]) for each in shell.documents("webhooks", "list")] == [
        (made["id"], ["product.updated"])
    ]
    assert shell.documents("webhooks", "delete", made["id"]) == [{"deleted": made["id"]}]
    assert shell.documents("webhooks", "list") == []
    code, out, err = shell.run("webhooks", "test", made["id"])
    assert (code, out) == (1, "")
    assert "404 not_found" in err


def test_a_write_whose_answer_is_lost_is_done_once_and_its_answer_comes_after_all(
    server: WebServer, shell: Shell
) -> None:
    with line_to(server) as line:
        line.answers_to_lose = 1
        (made,) = shell_by(shell, line).documents("webhooks", "create", "https://93.184.215.14/hook")

    assert line.answers_to_lose == 0
    assert made["secret"].startswith("whsec_")
    assert [str(endpoint.pk) for endpoint in WebhookEndpoint.objects.all()] == [made["id"]]


# --- what goes wrong ---------------------------------------------------------------------------


def test_what_the_server_refuses_is_told_in_its_words(shell: Shell, small: Path) -> None:
    code, out, err = shell.run("products", "no-such")
    assert (code, out) == (1, "")
    assert "404 not_found" in err

    code, _, err = shell.run("import", small, "--mode", "sideways")
    assert code == 1
    assert "mode" in err


def test_a_wrong_token_a_missing_one_and_a_wrong_command_line_differ(shell: Shell) -> None:
    assert shell.run("products", ODATA_TOKEN="odata_wrong")[0] == 1
    assert shell.run("products", ODATA_TOKEN="")[0] == 2
    assert shell.run("products", "--limit", "0")[0] == 2


def test_a_server_that_is_not_there_has_a_code_of_its_own(shell: Shell, small: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        code, out, err = shell.run("--retries", 1, "--url", address, "import", small)

    assert (code, out) == (4, "")
    assert "does not answer" in err


@pytest.mark.parametrize("wrong", ["odata_1\nodata_2", "odata_1 odata_2", "odata_1\u20ac"])
def test_what_can_be_no_token_is_refused_without_being_shown(wrong: str, tmp_path: Path) -> None:
    shell = Shell(tmp_path, 9, "")
    (tmp_path / "token").write_text(wrong, encoding="utf-8")

    for code, out, err in (
        shell.run("products", ODATA_TOKEN=wrong),
        shell.run("--token-file", str(tmp_path / "token"), "products"),
    ):
        assert (code, out) == (2, "")
        assert "holds more than a token" in err
        assert "odata_1" not in err and "Traceback" not in err


def test_the_token_is_never_shown(shell: Shell) -> None:
    token = shell.environment["ODATA_TOKEN"]
    for arguments in (["products", "no-such"], ["--help"], ["products", "--url", "x"]):
        _, out, err = shell.run(*arguments)
        assert token not in out + err


def test_it_waits_no_longer_than_half_a_minute_whatever_a_server_asks_for() -> None:
    code = (
        "import odata_client, urllib3; "
        "asked = [urllib3.HTTPResponse(headers={'Retry-After': each}) for each in ('3600', '7')]; "
        "print([odata_client.Again().get_retry_after(each) for each in asked])"
    )
    command = [sys.executable, "-c", code]
    said = subprocess.run(command, cwd=CLIENT, check=True, capture_output=True, text=True).stdout

    assert said.split() == ["[30.0,", "7]"]


# --- what is written of it ---------------------------------------------------------------------


def test_the_page_lists_the_exit_codes_as_the_client_has_them(settings: Settings) -> None:
    code = "import json, odata_client; print(json.dumps([each.value for each in odata_client.Exit]))"
    command = [sys.executable, "-c", code]
    there = json.loads(subprocess.run(command, cwd=CLIENT, check=True, capture_output=True, text=True).stdout)

    assert [int(number) for number in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)] == there


def test_it_needs_nothing_but_requests_and_rich() -> None:
    project = tomllib.loads((CLIENT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert sorted(re.split(r"[<>=]", name)[0] for name in project["dependencies"]) == ["requests", "rich"]
    assert project["scripts"] == {"odata-client": "odata_client:main"}
