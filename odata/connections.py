"""What the URLs of the two servers come to: the arguments of their clients, TLS included."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

import environ

from common.env import SettingError

CERTIFICATE_FILES = ("sslrootcert", "sslcert", "sslkey", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
"""Parameters that name a file: libpq's (PostgreSQL manual, 32.1.2), then redis-py's."""


def database_config(url: str, name: str = "DATABASE_URL") -> dict[str, Any]:
    """Django's settings for the PostgreSQL at `url`, which the setting `name` gives. Raises SettingError, which never
    shows the password."""
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("postgres", "postgresql") and (parts.port or 1)
    except ValueError as error:
        raise SettingError(name, f"is not a URL that can be read ({error})") from None
    if not known:
        raise SettingError(name, "must start with postgresql://, as in postgresql://user:password@host/name")
    if not parts.path.strip("/"):
        raise SettingError(name, "names no database: it ends in /name, as in postgresql://user@host/odata")
    require_files(name, url)
    config: dict[str, Any] = environ.Env.db_url_config(url)
    return config


def redis_address(name: str, url: str) -> str:
    """The URL of a Valkey or Redis for redis-py and kombu alike. Raises SettingError.

    Certificates are verified unless the URL says otherwise: that is redis-py's own default, while
    kombu would take a plain ``rediss://`` for ``ssl_cert_reqs=none``.
    """
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("redis", "rediss", "unix") and (parts.port or 1)
    except ValueError as error:
        raise SettingError(name, f"is not a URL that can be read ({error})") from None
    if not known:
        raise SettingError(name, "must start with redis://, rediss:// (TLS) or unix://, as in redis://host:6379/0")
    require_files(name, url)
    query = parse_qs(parts.query)
    wanted = query.get("ssl_cert_reqs", ["required"])[-1]
    if wanted not in ("required", "optional", "none"):
        raise SettingError(name, f"has ssl_cert_reqs={wanted}: it must be required, optional or none")
    if parts.scheme != "rediss" or "ssl_cert_reqs" in query:
        return url
    return urlunsplit(parts._replace(query=urlencode({**query, "ssl_cert_reqs": wanted}, doseq=True)))


def broker_address(url: str) -> str:
    """The same server as kombu writes it: a socket has a scheme and a parameter of its own there."""
    parts = urlsplit(url)
    if parts.scheme != "unix":
        return url
    query = {"virtual_host" if key == "db" else key: value for key, value in parse_qs(parts.query).items()}
    return f"redis+socket://{parts.path}?{urlencode(query, doseq=True)}"


def require_files(name: str, url: str) -> None:
    """Every certificate that the URL names must be there. Raises SettingError."""
    for parameter, values in parse_qs(urlsplit(url).query).items():
        if parameter in CERTIFICATE_FILES and values[-1] != "system" and not Path(values[-1]).is_file():
            raise SettingError(name, f"has {parameter}={values[-1]}, and there is no such file")
