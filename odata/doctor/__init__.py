"""`manage.py doctor`: looks at everything the service stands on, and says in sentences what it found.

A check is a generator of findings. It is given deadlines and never raises: what it stumbles over is a finding too.
Nothing is started, repaired or changed; the file store is written to and cleaned up again, to see that it can be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psycopg
import redis
import structlog

from odata.doctor import machine, postgres, running, valkey
from odata.doctor.finding import ERROR, OK, STATES, WARNING, Finding, error, worst

__all__ = ["ERROR", "OK", "STATES", "WARNING", "Finding", "Section", "examine", "worst"]

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Section:
    """One area of the service, and what was found there."""

    name: str
    findings: list[Finding]

    @property
    def state(self) -> str:
        return worst(self.findings)

    @property
    def worst_first(self) -> list[Finding]:
        return sorted(self.findings, key=lambda finding: -STATES.index(finding.state))


AREAS: dict[str, tuple[Callable[[], Iterator[Finding]], ...]] = {
    "Settings": (machine.versions, machine.settings_problems, machine.https, machine.mail),
    "Secrets": (machine.secrets, running.second_factors, running.sessions),
    "Disk and files": (machine.home, machine.disk, machine.file_store),
    "PostgreSQL": (postgres.server, postgres.session),
    "Valkey": (valkey.server,),
    "Processes": (running.processes, running.schedule, running.live),
    "Imports and webhooks": (running.queues, running.imports, running.webhooks, running.webhook_secrets),
}

UNKNOWN_WITHOUT_TABLES = error("unknown", "Not known while tables are missing.", "See the migrations of PostgreSQL.")
UNKNOWN_WITHOUT_POSTGRES = error("unknown", "Not known while PostgreSQL does not answer.", "See PostgreSQL.")
UNKNOWN_WITHOUT_VALKEY = error("unknown", "Not known while Valkey does not answer.", "See Valkey.")


def examine() -> list[Section]:
    """Look at everything, area by area. Takes some seconds where a server is silent."""
    return [
        Section(name, list(dict.fromkeys(found for check in checks for found in _look(check))))
        for name, checks in AREAS.items()
    ]


def _look(check: Callable[[], Iterator[Finding]]) -> list[Finding]:
    findings: list[Finding] = []
    try:
        findings.extend(check())
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn):
        findings.append(UNKNOWN_WITHOUT_TABLES)
    except psycopg.Error:
        findings.append(UNKNOWN_WITHOUT_POSTGRES)
    except redis.RedisError:
        findings.append(UNKNOWN_WITHOUT_VALKEY)
    except Exception as problem:
        log.exception("doctor_stumbled", check=check.__name__)
        sentence = f"Could not be looked at ({type(problem).__name__})."
        findings.append(error(check.__name__, sentence, "The log has the details. Tell those who develop the service."))
    return findings
