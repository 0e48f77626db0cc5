"""This machine: settings, versions, secrets, disk and the file store."""

from __future__ import annotations

import os
import platform
import stat
import sys
import time
import uuid
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from django.conf import settings
from django.core.checks import run_checks
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage, storages
from django.core.mail import get_connection

from common.errors import StoreUnavailableError
from odata import health
from odata.checks import is_local
from odata.doctor.finding import Finding, error, ok, warning

OLDEST_PYTHON = (3, 11)
LIBRARIES = ("Django", "djangorestframework", "celery", "psycopg", "channels", "granian", "daphne")
OF_HTTPS = {"security.W004", "security.W008", "security.W012", "security.W016"}
"""Django's advice that the one setting HTTPS follows; `https` says when it matters."""
MAIL_SECONDS = 3
MAKE_ROOM = "Make room, or set ODATA_HOME to a folder on a larger disk. Uploads are refused when it is full."


def versions() -> Iterator[Finding]:
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    sentence = f"Python {platform.python_version()} with {libraries}."
    if sys.version_info < OLDEST_PYTHON:
        yield error("python", sentence, "Python 3.11 or newer is needed.")
    else:
        yield ok("python", sentence)


def settings_problems() -> Iterator[Finding]:
    """What `manage.py check --deploy` says, less its advice on HTTPS, which `https` sums up."""
    messages = [each for each in run_checks(include_deployment_checks=True) if each.id not in OF_HTTPS]
    for message in messages:
        make = error if message.is_serious() else warning
        yield make(f"check.{message.id}", message.msg, message.hint or "See `manage.py check --deploy`.")
    if not messages:
        yield ok("settings", "All settings can be used.")


def https() -> Iterator[Finding]:
    public = [host for host in settings.ALLOWED_HOSTS if not is_local(host)]
    if settings.HTTPS:
        yield ok("https", "HTTPS is on: secure cookies, HSTS, and plain requests are redirected.")
    elif public:
        yield warning(
            "https",
            f"HTTPS is off, while ALLOWED_HOSTS names {', '.join(public)}: passwords and tokens cross the network as "
            "they are.",
            "Put a proxy with a certificate in front, as docker-compose.yml does, and set HTTPS=true.",
        )
    else:
        yield ok("https", "HTTPS is off, and the service answers to this machine's own names only.")


def mail() -> Iterator[Finding]:
    if not settings.ENV["EMAIL_URL"]:
        if settings.WEBHOOK_ALERT_EMAILS:
            yield warning(
                "mail",
                "WEBHOOK_ALERT_EMAILS names people to be told, and no mail server is set.",
                "Set EMAIL_URL, as in smtp+tls://user:password@mail.example.com:587.",
            )
        else:
            yield ok("mail", "No mail server is set: nobody is told by mail.")
        return
    sender = get_connection(timeout=MAIL_SECONDS) if "smtp" in settings.EMAIL_BACKEND else get_connection()
    try:
        sender.open()
        sender.close()
    except OSError as problem:  # smtplib's errors are some, too
        sentence = f"The mail server of EMAIL_URL can't be used: {_reason(problem)}."
        yield error("mail", sentence, "Correct EMAIL_URL, or see to that server: user, password and port count too.")
    else:
        yield ok("mail", f"The mail server takes us; mails come from {settings.DEFAULT_FROM_EMAIL}.")
    if not settings.SITE_URL:
        yield warning(
            "site_url",
            "SITE_URL is not set: links in mails lead nowhere.",
            "Set it to where people find the service, as in SITE_URL=https://catalogue.example.com.",
        )


# --- secrets -----------------------------------------------------------------------------------


def secrets() -> Iterator[Finding]:
    """That there are keys, and that nobody else can read the files they are in. What they are is told nobody."""
    for name, file, given in (
        ("SECRET_KEY", "secret_key", bool(settings.ENV["SECRET_KEY"])),
        ("WEBHOOK_SECRET_KEYS", "webhook_secret_keys", bool(settings.ENV["WEBHOOK_SECRET_KEYS"])),
    ):
        if not getattr(settings, name):
            yield error(name.lower(), f"There is no {name}.", "See the problem under Settings.")
        elif given:
            yield ok(name.lower(), f"{name} is set by the environment.")
        else:
            yield _private(name.lower(), settings.ODATA_HOME / file, f"{name} is kept in")
    for path in _files_with_secrets():
        yield _private("secret_file", path, "Settings are read from")


def _files_with_secrets() -> list[Path]:
    """The project's `.env`, and the files that settings of the form NAME_FILE point to."""
    named = [Path(os.environ[f"{name}_FILE"]) for name in settings.ENV if os.environ.get(f"{name}_FILE")]
    return [path for path in (settings.BASE_DIR / ".env", *named) if path.is_file()]


def _private(what: str, path: Path, sentence: str) -> Finding:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError as problem:
        return error(what, f"{sentence} {path}, which can't be looked at: {_reason(problem)}.", "See ODATA_HOME.")
    if mode & 0o077:
        return error(what, f"{sentence} {path}, which others may open (mode {mode:04o}).", f"chmod 600 {path}")
    return ok(what, f"{sentence} {path}, which only its owner can open.")


# --- disk and files ----------------------------------------------------------------------------


def home() -> Iterator[Finding]:
    place = settings.ODATA_HOME
    if not place.is_dir():
        yield error("home", f"ODATA_HOME is {place}, which is no folder.", "Run manage.py up once, or make the folder.")
        return
    mode = stat.S_IMODE(place.stat().st_mode)
    if not os.access(place, os.R_OK | os.W_OK | os.X_OK):
        owner = place.stat().st_uid
        sentence = f"ODATA_HOME is {place}, which user {os.geteuid()} may not write (it is user {owner}'s)."
        yield error("home", sentence, f"Run as that user, or chown -R {os.geteuid()} {place}.")
    elif mode & 0o066:
        sentence = f"ODATA_HOME is {place}, which others may look into (mode {mode:04o})."
        yield error("home", sentence, f"chmod go-rw {place}")
    else:
        yield ok("home", f"ODATA_HOME is {place}, which others can't look into.")


def disk() -> Iterator[Finding]:
    check = health.check_disk()["disk"]
    sentence = f"Where ODATA_HOME is: {check.detail}"
    yield ok("disk", sentence) if check.state == health.OK else warning("disk", sentence, MAKE_ROOM)
    if not settings.ODATA_HOME.is_dir():
        return
    inodes = os.statvfs(settings.ODATA_HOME)
    if inodes.f_files and inodes.f_favail < inodes.f_files / 100:
        yield warning(
            "inodes", f"Only {inodes.f_favail:,} more files can be made there.", "Remove files from the disk."
        )


def file_store() -> Iterator[Finding]:
    """A small file goes there, comes back as it was, and is removed."""
    content = uuid.uuid4().hex.encode()
    kind = type(storages["default"]).__name__
    began = time.monotonic()
    try:
        name = default_storage.save(f"doctor-{uuid.uuid4().hex}.txt", ContentFile(content))
        try:
            with default_storage.open(name) as file:
                same = file.read() == content
        finally:
            default_storage.delete(name)
    except Exception as problem:  # each kind of store has errors of its own
        sentence = f"The file store ({kind}) can't be written: {_reason(problem)}."
        yield error(
            "file_store",
            sentence,
            "No upload can be taken: see to its folder or bucket, to the room and to our rights there.",
        )
        return
    took = (time.monotonic() - began) * 1000
    if same:
        yield ok("file_store", f"The file store ({kind}) took a file and gave it back in {took:.0f} ms.")
    else:
        yield error("file_store", "The file store gave back another file than it took.", "See to the store at once.")


def _reason(problem: Exception) -> str:
    """Its first line, or its kind where it has no words; of a store that is away, what it was that failed."""
    if isinstance(problem, StoreUnavailableError) and isinstance(problem.__cause__, Exception):
        problem = problem.__cause__
    words = getattr(problem, "strerror", None) or str(problem).strip() or type(problem).__name__
    return str(words).splitlines()[0].rstrip(".")
