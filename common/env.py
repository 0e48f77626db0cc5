"""Settings that come from the environment: one declaration each.

`odata.environment` declares them, `odata.settings` reads them, and the tests hold
`.env.example` and docs/settings.md to the same list.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import environ

VARIABLE = re.compile(r"(?:export )?[A-Za-z_0-9]+=")
"""How a line of a `.env` file begins that sets one, for django-environ too; it passes over all others."""


class SettingError(Exception):
    """A setting has a value that can't be used. The message says which, and what would do."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name} {problem}.")
        self.name = name


@dataclass(frozen=True)
class Setting:
    """One environment variable.

    ``kind`` is ``str``, ``int``, ``bool``, ``list`` (comma-separated), ``ports`` or ``networks`` (lists of port
    numbers and of networks such as 10.0.0.0/8). ``default`` is the text
    that stands for an unset variable; ``""`` in an ``str`` means "not set". A ``secret`` may also
    be given as ``NAME_FILE``, the path of a file that holds it.
    """

    name: str
    kind: str
    default: str
    help: str
    secret: bool = False
    minimum: int | None = None
    maximum: int | None = None
    choices: tuple[str, ...] = ()
    """Where only these will do; upper and lower case are one."""

    def read(self, env: Mapping[str, str]) -> Any:
        """The setting's value out of `env`. Raises SettingError with the variable's name."""
        raw = self._raw(env)
        try:
            return self._parse(raw)
        except ValueError as error:
            shown = "(hidden)" if self.secret else repr(raw)
            raise SettingError(self.name, f"is {shown} and {error}") from None

    def read_default(self) -> Any:
        return self._parse(self.default)

    def _raw(self, env: Mapping[str, str]) -> str:
        raw = env.get(self.name, "").strip()
        path = env.get(f"{self.name}_FILE", "").strip() if self.secret else ""
        if raw or not path:
            return raw or self.default
        try:
            return Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            raise SettingError(f"{self.name}_FILE", f"is {path!r}, which can't be read: {reason}") from None

    def _parse(self, raw: str) -> Any:
        if self.kind == "int":
            return self._parse_int(raw)
        if self.kind == "bool":
            return self._parse_bool(raw)
        parts = [part.strip() for part in raw.split(",") if part.strip()]
        if self.kind == "list":
            return parts
        if self.kind == "ports":
            return [_parse_port(part) for part in parts]
        if self.kind == "networks":
            return [_parse_network(part) for part in parts]
        return self._parse_choice(raw) if self.choices else raw

    def _parse_choice(self, raw: str) -> str:
        for choice in self.choices:
            if choice.lower() == raw.lower():
                return choice
        raise ValueError(f"must be one of {', '.join(self.choices)}")

    def _parse_int(self, raw: str) -> int:
        try:
            number = int(raw.replace("_", ""))
        except ValueError:
            raise ValueError("must be a whole number") from None
        if self.minimum is not None and number < self.minimum:
            raise ValueError(f"must be {self.minimum} or more")
        if self.maximum is not None and number > self.maximum:
            raise ValueError(f"must be {self.maximum} or less")
        return number

    @staticmethod
    def _parse_bool(raw: str) -> bool:
        if raw.lower() in environ.Env.BOOLEAN_TRUE_STRINGS:
            return True
        if raw.lower() in ("false", "off", "no", "n", "0", ""):
            return False
        raise ValueError("must be true or false")


def _parse_port(part: str) -> int:
    if not part.isdecimal() or not 1 <= int(part) <= 65535:
        raise ValueError(f"must be a list of ports from 1 to 65535, which {part!r} is not")
    return int(part)


def _parse_network(part: str) -> str:
    try:
        return str(ipaddress.ip_network(part))
    except ValueError as error:
        raise ValueError(f"must be a list of networks such as 10.1.0.0/16 or fd12:3456::/32: {error}") from None


def read_settings(settings: Iterable[Setting], env: Mapping[str, str]) -> tuple[dict[str, Any], list[SettingError]]:
    """All settings by name, and what is wrong with them. A wrong one gets its default for the time being."""
    values: dict[str, Any] = {}
    problems: list[SettingError] = []
    for setting in settings:
        try:
            values[setting.name] = setting.read(env)
        except SettingError as problem:
            values[setting.name] = setting.read_default()
            problems.append(problem)
    return values, problems


def load_dotenv(path: Path) -> list[SettingError]:
    """Put the variables of a `.env` file, if there is one, into the environment; what is set already wins.

    Returns what can't be read of it: whoever wrote a file means it, and a service that went on without it would be
    another one, with a database of its own.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        return [SettingError(str(path), f"can't be read: {reason}")]
    lines = [line.strip() for line in text.splitlines()]
    environ.Env.read_env(StringIO("\n".join(line for line in lines if VARIABLE.match(line))))
    return [
        SettingError(str(path), f"has a line {number} that is no NAME=value, nor a comment that begins with #")
        for number, line in enumerate(lines, start=1)
        if line and not line.startswith("#") and not VARIABLE.match(line)
    ]
