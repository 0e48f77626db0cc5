"""`odata-client`: product files into an OData Backend, and products out of it, from scripts.

JSON goes to stdout, progress and complaints to stderr; the exit codes are those of `Exit`. Files are sent by
tus 1.0 (https://tus.io/protocols/resumable-upload): what the server has of a file is never sent twice, neither
after a broken connection nor by the next run of the same command.

ODATA_URL says where the server is, ODATA_TOKEN what opens it: never an argument, which other users could see.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import enum
import hashlib
import json
import os
import re
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NoReturn
from urllib.parse import quote, urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from urllib3.exceptions import MaxRetryError
from urllib3.util.retry import Retry

TIMEOUT = (10, 60)
"""Seconds to wait for a connection, and for each piece of an answer."""
ATTEMPTS = 8
"""Tries in a row that bring nothing further, before the command gives up."""
RETRIES = 5
"""After pauses of 0, 1, 2, 4 and 8 seconds: a server that is started anew is back by then."""

POST_TRIES = 3
LONGEST_PAUSE = 30.0
"""Seconds between two tries at most, whatever the server asks for."""
FINAL = {"SUCCESS", "FAILURE", "CANCELLED"}
TRY_AGAIN = {409, 423, 429, 502, 503, 504, 460}
"""Answers to a part of a file after which it is asked how much is there, and gone on. 460 is tus' own."""
PIECE = 1 << 20


class Exit(enum.IntEnum):
    """What the command says to the shell."""

    OK = 0
    REFUSED = 1
    """The server refused; or the file, or the answer, can't be used."""
    USAGE = 2
    """The command line is wrong (argparse's own code)."""
    IMPORT_FAILED = 3
    """The import ended as FAILURE or CANCELLED."""
    UNREACHABLE = 4
    """The server can't be reached, or broke off too often."""
    REJECTED_ROWS = 5
    """With --strict: the import succeeded, but rows of the file were rejected."""
    INTERRUPTED = 130


class ClientError(Exception):
    """Ends the command with a sentence on stderr."""

    def __init__(self, sentence: str, code: Exit = Exit.REFUSED, status: int | None = None) -> None:
        super().__init__(sentence)
        self.code = code
        self.status = status


class Token(requests.auth.AuthBase):
    """The token. An `auth` of its own, since requests would prefer a ~/.netrc to a plain header."""

    def __init__(self, token: str) -> None:
        self.token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self.token}"
        return request


class Again(Retry):
    """Waits as long as the server asks for, but no longer than LONGEST_PAUSE."""

    def get_retry_after(self, response: Any) -> float | None:
        pause = super().get_retry_after(response)
        return None if pause is None else min(pause, LONGEST_PAUSE)


class Server:
    """The server, asked with a token; what it refuses is a ClientError with its own words."""

    def __init__(self, url: str, token: str, retries: int = RETRIES) -> None:
        self.url = url.rstrip("/") + "/"
        self.session = requests.Session()
        self.session.auth = Token(token)
        # Reads may be asked again. Of writes only POSTs are, in `ask`: who knows whether the first one arrived.
        again = Again(
            total=retries, backoff_factor=0.5, status_forcelist=[429, 502, 503, 504], allowed_methods=["GET", "HEAD"],
            raise_on_status=False,
        )  # fmt: skip
        self.session.mount(self.url, HTTPAdapter(max_retries=again))

    def address(self, path: str) -> str:
        """The address of a path of this server. Raises ClientError for one elsewhere: it would get the token."""
        address = urljoin(self.url, path)
        if urlsplit(address)[:2] != urlsplit(self.url)[:2]:
            raise ClientError(f"The server points to another one, {address}. Is ODATA_URL its public address?")
        return address

    def ask(self, method: str, path: str, **options: Any) -> requests.Response:
        """The answer. Raises ClientError if it is an error, or if none comes.

        A POST names itself by a key, and is sent again if its answer is lost: the server carries it out once.
        """
        post = method == "POST"
        if post:
            options["headers"] = {**options.get("headers", {}), "Idempotency-Key": str(uuid.uuid4())}
        for last in [False] * (POST_TRIES - 1) * post + [True]:
            try:
                answer = self.session.request(method, self.address(path), timeout=TIMEOUT, **options)
            except requests.RequestException as error:
                unconnected = any(isinstance(cause, MaxRetryError) for cause in error.args)  # however often it tried
                if last or unconnected:
                    raise ClientError(f"{self.url} does not answer: {error}", Exit.UNREACHABLE) from None
                time.sleep(0.5)
                continue
            if not last and (answer.status_code in (502, 503, 504) or in_flight(answer)):
                time.sleep(min(retry_after(answer) or 0.5, LONGEST_PAUSE))
                continue
            if not answer.ok:
                raise refusal(answer)
            return answer
        raise AssertionError("the loop returns or raises")

    def document(self, method: str, path: str, **options: Any) -> Any:
        """The JSON of the answer, or None where it has none. Raises ClientError."""
        answer = self.ask(method, path, **options)
        try:
            return answer.json() if answer.content else None
        except ValueError:
            raise ClientError(f"{path} answered with something that is no JSON. Is ODATA_URL right?") from None

    def results(self, path: str, **parameters: Any) -> Iterator[Any]:
        """What a list holds, page after page."""
        page = self.document("GET", path, params=parameters)
        while True:
            yield from page["results"]
            if not page["next"]:
                return
            page = self.document("GET", page["next"])


def in_flight(answer: requests.Response) -> bool:
    """Whether the server is still at an earlier try of the same request."""
    try:
        return answer.status_code == 409 and answer.json()["code"] == "idempotency_key_in_flight"
    except (ValueError, KeyError, TypeError):
        return False


def refusal(answer: requests.Response) -> ClientError:
    """What to raise for an error answer."""
    return ClientError(explain(answer), status=answer.status_code)


def explain(answer: requests.Response) -> str:
    """The server's own words (problem+json, RFC 9457), or its status."""
    try:
        problem = answer.json()
        lines = [f"{problem['detail']} ({answer.status_code} {problem['code']}, request {problem['request_id']})"]
        lines += [f"{error['pointer']}: {error['message']}" for error in problem.get("errors", [])]
    except (ValueError, KeyError, TypeError):
        return f"{answer.request.method} {answer.url} was answered with {answer.status_code} {answer.reason}."
    return "\n".join(lines)


# --- files, in parts ---------------------------------------------------------------------------


class Notes:
    """Which upload has begun for which file: what lets the next run go on where this one ended."""

    def __init__(self, server: str, file: Path) -> None:
        status = file.stat()
        names = [server, str(file.resolve()), str(status.st_size), str(status.st_mtime_ns)]
        base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
        self.path = Path(base) / "odata-client" / hashlib.sha256("\0".join(names).encode()).hexdigest()

    def read(self) -> str | None:
        """The path of the upload, if one has begun."""
        try:
            return self.path.read_text(encoding="utf-8") or None
        except (OSError, ValueError):
            return None

    def write(self, upload: str) -> None:
        """Keep it. A home that can't be written costs only the resuming by another run."""
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.path.write_text(upload, encoding="utf-8")

    def forget(self) -> None:
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)


class Part:
    """The rest of a file from here on, as the body of a request."""

    def __init__(self, file: IO[bytes], size: int, seen: Callable[[int], None]) -> None:
        self.file = file
        self.left = size - file.tell()
        self.seen = seen

    def __len__(self) -> int:
        return self.left

    def read(self, most: int = -1) -> bytes:
        """The next bytes. Raises ClientError for a file that has become shorter."""
        piece = self.file.read(min(most, self.left) if most >= 0 else self.left)
        if self.left and not piece:
            raise ClientError("The file has become shorter while it was sent. Start again when it is finished.")
        self.left -= len(piece)
        self.seen(self.file.tell())
        return piece


class Upload:
    """One file on its way to `/files/`."""

    HEADERS = {"Tus-Resumable": "1.0.0"}

    def __init__(self, server: Server, file: Path) -> None:
        self.server = server
        self.file = file
        self.size = file.stat().st_size
        self.notes = Notes(server.url, file)

    def send(self, seen: Callable[[int], None]) -> str:
        """All of it; the path of the finished upload. `seen` hears how far it is. Raises ClientError."""
        path, offset = self._go_on() or self._begin()
        failures = 0
        with self.file.open("rb") as file:
            while offset < self.size:
                reached, pause = self._send_rest(path, file, offset, seen)
                if reached is None:
                    # The server needs a moment to see that the connection broke, and to keep what came.
                    time.sleep(min(pause or 0.5 * 2**failures, LONGEST_PAUSE))
                    reached = self._offset(path)
                failures = 0 if reached > offset else failures + 1
                offset = reached
                if failures == ATTEMPTS:
                    sentence = "The connection breaks off again and again. Try later: it goes on from here."
                    raise ClientError(sentence, Exit.UNREACHABLE)
        seen(self.size)
        return path

    def _go_on(self) -> tuple[str, int] | None:
        """The upload that an earlier run began, and how far it is."""
        path = self.notes.read()
        if path is None:
            return None
        try:
            return path, self._offset(path)
        except ClientError as error:
            if error.status not in (404, 410):
                raise
            return None  # expired, deleted, or another token's

    def _begin(self) -> tuple[str, int]:
        name = base64.b64encode(self.file.name.encode("utf-8", "replace")).decode()
        headers = {**self.HEADERS, "Upload-Length": str(self.size), "Upload-Metadata": f"filename {name}"}
        path = self.server.ask("POST", "/files/", headers=headers).headers["Location"]
        self.notes.write(path)
        return path, 0

    def _offset(self, path: str) -> int:
        answer = self.server.session.head(self.server.address(path), headers=self.HEADERS, timeout=TIMEOUT)
        if not answer.ok:
            raise refusal(answer)
        return int(answer.headers["Upload-Offset"])

    def _send_rest(
        self, path: str, file: IO[bytes], offset: int, seen: Callable[[int], None]
    ) -> tuple[int | None, float | None]:
        """Send what is missing. How far the server says it is, if it says so; and the seconds it asks to wait for.
        Raises ClientError."""
        file.seek(offset)
        headers = {
            **self.HEADERS,
            "Upload-Offset": str(offset),
            "Content-Type": "application/offset+octet-stream",
        }
        body: Any = Part(file, self.size, seen)
        try:
            answer = self.server.session.patch(self.server.address(path), data=body, headers=headers, timeout=TIMEOUT)
        except requests.RequestException:
            return None, None  # what arrived of it is kept: HEAD says how much
        if answer.ok:
            return int(answer.headers["Upload-Offset"]), None
        if answer.status_code not in TRY_AGAIN:
            raise refusal(answer)
        return None, retry_after(answer)


def retry_after(answer: requests.Response) -> float | None:
    """Seconds that the server asks to wait for."""
    text = answer.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() else None


# --- what the commands do ----------------------------------------------------------------------

OPTIONS = ("mode", "on_error", "max_rejects", "duplicates", "empty_cells", "max_deactivated", "encoding", "delimiter",
           "quote", "sheet")  # fmt: skip
"""Of an import, as the API has them; the server judges their values."""


def import_file(server: Server, arguments: argparse.Namespace, console: Console) -> Exit:
    """`import FILE`."""
    if not arguments.file.is_file():
        raise ClientError(f"{arguments.file} is no file.")
    options: dict[str, Any] = {name: getattr(arguments, name) for name in OPTIONS}
    options |= {"mapping": arguments.mapping, "check_first": arguments.check_first or None}
    with progress(console, arguments.quiet) as shown:
        upload = Upload(server, arguments.file)
        bar = shown.add_task("sending", total=upload.size)
        path = upload.send(lambda done: shown.update(bar, completed=done))
        body = {"upload": path, **{name: value for name, value in options.items() if value is not None}}
        import_ = start(server, body)
        if arguments.watch:
            import_ = watch(server, import_, shown)
        upload.notes.forget()  # not before: who is interrupted while watching goes on with the same import
    say(import_)
    return verdict(import_, strict=arguments.strict)


def start(server: Server, body: dict[str, Any]) -> Any:
    """The import of an upload. Asked again it is the same one, so a lost answer may be asked for again."""
    for attempt in range(ATTEMPTS):
        try:
            return server.document("POST", "/api/v1/imports/", json=body)
        except ClientError as error:
            if error.code is not Exit.UNREACHABLE or attempt == ATTEMPTS - 1:
                raise
            time.sleep(min(0.25 * 2**attempt, LONGEST_PAUSE))
    raise AssertionError("the loop returns or raises")


def watch(server: Server, import_: Any, shown: Progress) -> Any:
    """The import when it is over, or waits to be decided on."""
    bar = shown.add_task("importing", total=100)
    while not (import_["state"] in FINAL or (import_["state"] == "PENDING" and import_["phase"] == "checked")):
        shown.update(
            bar, completed=import_["percent"], description=f"{import_['phase']}, {import_['rows_read']:,} rows"
        )
        time.sleep(0.5)
        import_ = server.document("GET", import_["links"]["self"])
    shown.update(bar, completed=import_["percent"], description=import_["state"].lower())
    return import_


def verdict(import_: Any, *, strict: bool) -> Exit:
    """What an import means to the shell; one that has not ended is not judged."""
    if import_["state"] in ("FAILURE", "CANCELLED"):
        return Exit.IMPORT_FAILED
    return Exit.REJECTED_ROWS if strict and import_["rows_rejected"] else Exit.OK


def export(server: Server, arguments: argparse.Namespace, console: Console) -> Exit:
    """`export`: into a file, which appears when it is whole, or to stdout."""
    parameters = given(arguments, "search", "status", "columns")
    path = f"/api/v1/products/export.{arguments.format}"
    answer = server.ask("GET", path, params=parameters, stream=True, headers={"Accept-Encoding": "identity"})
    target: Path | None = arguments.output
    with progress(console, arguments.quiet) as shown:
        bar = shown.add_task("receiving", total=int(answer.headers.get("Content-Length", 0)) or None)
        pieces = received(answer, lambda size: shown.advance(bar, size))
        if target is None:
            for piece in pieces:
                sys.stdout.buffer.write(piece)
            sys.stdout.buffer.flush()
            return Exit.OK
        part = target.with_name(f"{target.name}.part")
        try:
            with part.open("wb") as file:
                file.writelines(pieces)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    say({"file": str(target), "bytes": target.stat().st_size})
    return Exit.OK


def received(answer: requests.Response, seen: Callable[[int], None]) -> Iterator[bytes]:
    """The body. Raises ClientError if it breaks off: half a file is none."""
    try:
        for piece in answer.iter_content(PIECE):
            seen(len(piece))
            yield piece
    except requests.RequestException as error:
        raise ClientError(f"The answer broke off: {error}", Exit.UNREACHABLE) from None


def products(server: Server, arguments: argparse.Namespace, _console: Console) -> Exit:
    """`products`: one of them, or a list with one on each line."""
    path = "/api/v1/products/"
    if arguments.sku is not None:
        say(server.document("GET", f"{path}{quote(arguments.sku, safe='')}/"))
        return Exit.OK
    left = arguments.limit
    for product in server.results(path, page_size=min(left or 1000, 1000), **given(arguments, "search", "status")):
        say(product)
        if left is not None and (left := left - 1) == 0:
            break
    return Exit.OK


def webhooks(server: Server, arguments: argparse.Namespace, _console: Console) -> Exit:
    """`webhooks list | create | delete | test`."""
    path = "/api/v1/webhooks/"
    if arguments.what == "list":
        for endpoint in server.results(path):
            say(endpoint)
        return Exit.OK
    if arguments.what == "create":
        fields = {"url": arguments.endpoint_url, **given(arguments, "description")}
        if arguments.event:
            fields["event_types"] = arguments.event
        say(server.document("POST", path, json=fields))
        return Exit.OK
    one = f"{path}{quote(arguments.id, safe='')}/"
    if arguments.what == "delete":
        server.ask("DELETE", one)
        say({"deleted": arguments.id})
        return Exit.OK
    attempt = server.document("POST", f"{one}test/", json={"event_type": arguments.event_type})
    say(attempt)
    return Exit.OK if 200 <= (attempt["status"] or 0) < 300 else Exit.REFUSED


def given(arguments: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Those of the options that were given."""
    return {name: getattr(arguments, name) for name in names if getattr(arguments, name) is not None}


def say(document: Any) -> None:
    """JSON on a line of its own, for jq and its like. ASCII: nothing in it can move a terminal's cursor."""
    sys.stdout.write(json.dumps(document) + "\n")


def progress(console: Console, quiet: bool) -> Progress:
    """Bars on stderr; where that is no terminal, how it ended."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=quiet)


# --- the command line --------------------------------------------------------------------------


def mapping(text: str) -> dict[str, str]:
    """`--mapping`, which is JSON. Raises argparse.ArgumentTypeError."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError('must be a JSON object such as {"Artikel": "sku"}')
    return found


def count(text: str) -> int:
    """A whole number from 1 on. Raises ValueError."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    codes = ", ".join(f"{code.value} {code.name.lower().replace('_', ' ')}" for code in Exit)
    whole = argparse.ArgumentParser(prog="odata-client", description=__doc__, epilog=f"Exit codes: {codes}.",
                                    formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    whole.add_argument("--url", default=os.environ.get("ODATA_URL", "http://localhost:8000"), help="or ODATA_URL")
    whole.add_argument("--token-file", type=Path, help="a file with the token, instead of ODATA_TOKEN")
    whole.add_argument(
        "--retries", type=count, default=RETRIES, metavar="N", help=f"without an answer, {RETRIES} by default"
    )
    whole.add_argument("--quiet", action="store_true", help="no progress on stderr")
    commands = whole.add_subparsers(required=True, metavar="COMMAND")

    one = commands.add_parser("import", help="send a file and import it; a run that broke off is gone on with")
    one.add_argument("file", type=Path, metavar="FILE")
    one.add_argument("--watch", action="store_true", help="wait for its end, and be judged by it")
    one.add_argument("--strict", action="store_true", help="with --watch: rejected rows are a failure (5)")
    one.add_argument("--check-first", action="store_true", help="only check; it waits to be applied")
    one.add_argument("--mapping", type=mapping, metavar="JSON", help="where columns go")
    for name in OPTIONS:
        one.add_argument(f"--{name.replace('_', '-')}", help="see docs/import-format.md")
    one.set_defaults(run=import_file)

    one = commands.add_parser("export", help="the catalogue as a file")
    one.add_argument("--format", choices=("csv", "xlsx"), default="csv")
    one.add_argument("-o", "--output", type=Path, metavar="FILE", help="instead of stdout")
    one.add_argument("--columns", help="with commas between them")
    filters(one)
    one.set_defaults(run=export)

    one = commands.add_parser("products", help="one product, or all of them, one on each line")
    one.add_argument("sku", nargs="?", metavar="SKU")
    one.add_argument("--limit", type=count, help="no more than so many")
    filters(one)
    one.set_defaults(run=products)

    one = commands.add_parser("webhooks", help="who is told of changes")
    kinds = one.add_subparsers(required=True, dest="what", metavar="list | create | delete | test")
    kinds.add_parser("list", help="one endpoint on each line")
    made = kinds.add_parser("create", help="the answer holds its secret, which is not shown again")
    made.add_argument("endpoint_url", metavar="URL")
    made.add_argument("--event", action="append", metavar="TYPE", help="such as product.updated; may be repeated")
    made.add_argument("--description")
    kinds.add_parser("delete").add_argument("id", metavar="ID")
    tested = kinds.add_parser("test", help="send an example; 0 if the receiver takes it")
    tested.add_argument("id", metavar="ID")
    tested.add_argument("--event-type", default="ping")
    one.set_defaults(run=webhooks)
    return whole


def filters(command: argparse.ArgumentParser) -> None:
    """Which products."""
    command.add_argument("--search", help="words in sku or name")
    command.add_argument("--status", choices=("active", "inactive"))


def token(arguments: argparse.Namespace) -> str:
    """Raises ClientError if there is none, or what there is can't be one. It never says what that was."""
    file = arguments.token_file
    found = file.read_text(encoding="utf-8", errors="replace") if file else os.environ.get("ODATA_TOKEN", "")
    if not found.strip():
        raise ClientError("Set ODATA_TOKEN, or name a file by --token-file. `manage.py issue_token` makes tokens.",
                          Exit.USAGE)  # fmt: skip
    if not re.fullmatch("[!-~]+", found.strip()):
        raise ClientError(f"{file or 'ODATA_TOKEN'} holds more than a token: it is one word, on one line.", Exit.USAGE)
    return found.strip()


def run(argv: list[str] | None = None) -> int:
    """The command; what it says to the shell."""
    arguments = parser().parse_args(argv)
    console = Console(stderr=True)
    try:
        return int(arguments.run(Server(arguments.url, token(arguments), arguments.retries), arguments, console))
    except ClientError as error:
        sentence, code = str(error), error.code
    except requests.RequestException as error:
        sentence, code = f"{arguments.url} does not answer: {error}", Exit.UNREACHABLE
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains at its end
        return int(Exit.OK)  # `| head` has all it wants
    except OSError as error:
        sentence, code = str(error), Exit.REFUSED
    except KeyboardInterrupt:
        sentence, code = "Interrupted. The same command goes on where this one stopped.", Exit.INTERRUPTED
    lines = ["".join(sign if sign.isprintable() else " " for sign in line) for line in sentence.splitlines()]
    console.print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
    return int(code)


def main() -> NoReturn:
    """Where the installed command starts."""
    sys.exit(run())


if __name__ == "__main__":
    main()
