"""PostgreSQL: whether it answers, and whether it is set up so that what is committed stays."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import psycopg
from django.conf import settings

from odata import health
from odata.doctor.finding import Finding, error, ok, warning
from odata.postgresql.answering import own_connection

OLDEST = 180000
"""PostgreSQL 18, as `server_version_num`: imports use `MERGE .. RETURNING old, new`."""
MB = 1024 * 1024
LEAST_WORK_MEM, LEAST_SHARED_BUFFERS = 4 * MB, 128 * MB
"""PostgreSQL's own defaults."""
SLOW_MS = 20
"""An answer that takes longer makes an import, with its many statements, and every page slow."""
SKEW_SECONDS = 2.0
OTHER_CONNECTIONS = 20
"""What workers, beat, commands and health checks of one machine may open beside the pools."""
RESET = "ALTER SYSTEM SET {name} = {value}; SELECT pg_reload_conf();"
NAMES = (
    "fsync",
    "full_page_writes",
    "synchronous_commit",
    "autovacuum",
    "track_counts",
    "max_connections",
    "superuser_reserved_connections",
    "reserved_connections",
    "work_mem",
    "shared_buffers",
    "server_encoding",
)
SETTINGS = """
    SELECT name, CASE unit WHEN '8kB' THEN (setting::bigint * 8192)::text WHEN 'kB' THEN (setting::bigint * 1024)::text
                      ELSE setting END
      FROM pg_settings WHERE name = ANY(%s)
"""
COLLATION = """
    SELECT datlocprovider::text, coalesce(datlocale, datcollate), datcollversion,
           pg_database_collation_actual_version(oid), pg_database_size(oid)
      FROM pg_database WHERE datname = current_database()
"""
CONNECTIONS = """
    SELECT count(*), max(extract(epoch FROM clock_timestamp() - xact_start)) FILTER (WHERE state <> 'idle')
      FROM pg_stat_activity WHERE backend_type = 'client backend'
"""
WRAPAROUND = "SELECT age(datfrozenxid) FROM pg_database WHERE datname = current_database()"
"""How many transactions ago its oldest row was frozen; at 2,100 million PostgreSQL stops taking writes."""


def server() -> Iterator[Finding]:
    """Whether it answers, how fast, in which version, with which tables, and whether its clock is ours."""
    began = time.monotonic()
    try:
        with own_connection() as database:
            took = (time.monotonic() - began) * 1000
            latency, skew = _time(database)
            (number, name) = _row(database, "SELECT current_setting('server_version_num')::int, version()")
    except psycopg.OperationalError as problem:
        place = "the embedded one: start it with manage.py up" if settings.EMBEDDED_POSTGRES else "see DATABASE_URL"
        sentence = f"PostgreSQL can't be reached: {str(problem).strip().splitlines()[0]}."
        yield error("database", sentence, f"Start or reach the server ({place}).")
        return
    product = " ".join(name.split()[:2])
    sentence = f"{product} answers in {latency:.1f} ms; to connect takes {took:.0f} ms."
    if number < OLDEST:
        yield error("database", sentence, "PostgreSQL 18 or newer is needed: imports use what older ones lack.")
    elif latency > SLOW_MS:
        yield warning("database", sentence, "Bring web and workers nearer to the database: every page waits for it.")
    else:
        yield ok("database", sentence)
    migrations = health.check_database()["migrations"]
    fine = migrations.state == health.OK
    yield (
        ok("migrations", f"Migrations: {migrations.detail}")
        if fine
        else error("migrations", f"Migrations: {migrations.detail}", "Run manage.py migrate.")
    )
    if abs(skew) > SKEW_SECONDS:
        sentence = f"This machine's clock and PostgreSQL's are {abs(skew):.1f} s apart."
        yield warning("clock", sentence, "Have both kept by NTP: tokens, leases and signatures go by them.")
    else:
        yield ok("clock", "This machine's clock and PostgreSQL's agree.")


def session() -> Iterator[Finding]:
    """How it is set up."""
    with own_connection() as database:
        found = dict(database.execute(SETTINGS, [list(NAMES)]).fetchall())
        yield from _durability(found)
        yield from _upkeep(found, _row(database, WRAPAROUND)[0])
        yield from _connections(found, *_row(database, CONNECTIONS))
        yield from _memory(found)
        yield from _text(found, *_row(database, COLLATION))


def _time(database: psycopg.Connection[Any]) -> tuple[float, float]:
    """Milliseconds that it takes to answer, at best of three; seconds that its clock is ahead of ours."""
    looks = []
    for _ in range(3):
        sent = time.time()
        (there,) = _row(database, "SELECT extract(epoch FROM clock_timestamp())::float8")
        back = time.time()
        looks.append((back - sent, there - (sent + back) / 2))
    took, skew = min(looks)
    return took * 1000, skew


def _row(database: psycopg.Connection[Any], statement: Any) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = database.execute(statement).fetchone()
    if row is None:
        raise LookupError(statement)
    return row


def _durability(found: dict[str, str]) -> Iterator[Finding]:
    why = {
        "fsync": "a crash of the machine may ruin the whole database",
        "full_page_writes": "a crash of the machine may leave torn pages",
    }
    off = [name for name in why if found[name] == "off"]
    for name in off:
        yield error(name, f"{name} is off: {why[name]}.", RESET.format(name=name, value="on"))
    if found["synchronous_commit"] == "off":
        yield warning(
            "synchronous_commit",
            "synchronous_commit is off: what was answered with success just before a crash may be lost.",
            RESET.format(name="synchronous_commit", value="on"),
        )
    elif not off:
        yield ok(
            "durability", "What is committed is on the disk: fsync, full_page_writes and synchronous_commit are on."
        )


def _upkeep(found: dict[str, str], age: int) -> Iterator[Finding]:
    off = [name for name in ("autovacuum", "track_counts") if found[name] == "off"]
    for name in off:
        sentence = f"{name} is off: tables grow with every change and plans go by old figures."
        yield error(name, sentence, RESET.format(name=name, value="on"))
    if age > 1_000_000_000:
        sentence = (
            f"The oldest row was frozen {age:,} transactions ago; at 2,100,000,000 PostgreSQL takes no more writes."
        )
        yield error("wraparound", sentence, "See why autovacuum does not get there: VACUUM (FREEZE) now.")
    elif not off:
        yield ok("autovacuum", "autovacuum is on.")


def most_connections() -> int:
    """How many connections the processes of one machine may open, as the settings are."""
    env = settings.ENV
    web = env["WEB_WORKERS"] * (env["DATABASE_POOL_SIZE"] + env["DATABASE_POOL_OVERFLOW"])
    live = 1 + env["DATABASE_POOL_OVERFLOW"]
    return int(web + live + OTHER_CONNECTIONS)


def _connections(found: dict[str, str], used: int, oldest: float | None) -> Iterator[Finding]:
    reserved = int(found["superuser_reserved_connections"]) + int(found["reserved_connections"])
    room, most = int(found["max_connections"]) - reserved, most_connections()
    sentence = f"PostgreSQL takes {room} connections; {used} are open, and one machine's processes may open {most}."
    if most > room:
        remedy = "Raise max_connections, or lower DATABASE_POOL_SIZE, DATABASE_POOL_OVERFLOW or WEB_WORKERS."
        yield warning("connections", sentence, f"{remedy} A pooler such as pgbouncer between them helps too.")
    else:
        yield ok("connections", sentence)
    if oldest and oldest > 3600:
        yield warning(
            "long_transaction",
            f"A transaction has been running for {oldest / 3600:.1f} hours: nothing older can be cleaned up.",
            "SELECT pid, query, xact_start FROM pg_stat_activity ORDER BY xact_start; then pg_terminate_backend(pid).",
        )


def _memory(found: dict[str, str]) -> Iterator[Finding]:
    small = False
    for name, least in (("work_mem", LEAST_WORK_MEM), ("shared_buffers", LEAST_SHARED_BUFFERS)):
        if (size := int(found[name])) < least:
            small = True
            sentence = f"{name} is {size // 1024:,} kB, less than PostgreSQL's own default."
            yield warning(name, sentence, f"Set it to {least // MB} MB or more.")
    if not small:
        sizes = {name: int(found[name]) // MB for name in ("work_mem", "shared_buffers")}
        yield ok("memory", f"work_mem is {sizes['work_mem']} MB, shared_buffers {sizes['shared_buffers']} MB.")


def _text(
    found: dict[str, str], provider: str, locale: str | None, noted: str | None, actual: str | None, size: int
) -> Iterator[Finding]:
    if found["server_encoding"] != "UTF8":
        sentence = f"The database is in {found['server_encoding']}: it can't keep every name."
        yield error("encoding", sentence, "Back up, make a database with ENCODING 'UTF8', restore there.")
    kinds = {"b": "builtin", "c": "libc", "i": "icu"}
    if noted != actual:
        yield error(
            "collation",
            f"The rules of sorting were those of version {noted} when the database was made, and are {actual} now: "
            "indexes on texts may miss rows.",
            "REINDEX DATABASE CONCURRENTLY; then ALTER DATABASE .. REFRESH COLLATION VERSION.",
        )
    else:
        sentence = f"Texts are {found['server_encoding']}, sorted by {kinds.get(provider, provider)} {locale or 'C'}"
        yield ok("collation", f"{sentence}; the database has {size / 1e9:,.2f} GB.")
