"""Every setting that the environment can give: its name, what it means, what it is when unset.

`odata.settings` reads them, docs/settings.md and `.env.example` describe them, and a test keeps
the three from drifting apart.
"""

from __future__ import annotations

from common.env import Setting

SETTINGS: tuple[Setting, ...] = (
    # where it runs
    Setting("HOST", "str", "127.0.0.1", "Address that the web and live servers listen on."),
    Setting("PORT", "int", "8000", "Port of the web server: pages, admin, REST.", minimum=1, maximum=65535),
    Setting("LIVE_PORT", "int", "8001", "Port of the live server: WebSockets.", minimum=1, maximum=65535),
    Setting(
        "LIVE_URL",
        "str",
        "",
        "Where browsers reach the live server, such as wss://catalogue.example.com. Unset: the "
        "host of the page on LIVE_PORT. `same-origin`: the page's own host and port, for a proxy "
        "that joins the two.",
    ),
    Setting(
        "ODATA_HOME",
        "str",
        "var",
        "Folder of everything that is kept: database, queue, uploaded files, secret key. "
        "A relative path starts at the project's folder.",
    ),
    Setting(
        "WEB_THREADS",
        "int",
        "128",
        "Threads of one web process at most: for the requests it works on, and for those that wait for their turn.",
        minimum=1,
    ),
    Setting(
        "WEB_MAX_IN_FLIGHT",
        "int",
        "32",
        "Requests that one web process works on at a time, and as many files that come in or go out beside them; a "
        "quarter of WEB_THREADS at most. Who waits longer than 2 seconds for a place gets a 503.",
        minimum=1,
    ),
    Setting("WEB_WORKERS", "int", "1", "Web processes.", minimum=1),
    Setting(
        "DRAIN_SECONDS",
        "int",
        "0",
        "How long a web server that is told to stop goes on serving, while /readyz already says 503: longer than a "
        "load balancer takes to notice.",
        minimum=0,
        maximum=300,
    ),
    Setting("LIVE_SOCKETS_PER_USER", "int", "100", "WebSockets that one person may have open at a time.", minimum=1),
    # Django
    Setting(
        "SECRET_KEY",
        "str",
        "",
        "Signs sessions and links; keep it secret and never change it lightly. Unset: made once "
        "and kept in ODATA_HOME/secret_key.",
        secret=True,
    ),
    Setting("ALLOWED_HOSTS", "list", "localhost,127.0.0.1,[::1]", "Host names this service answers to."),
    Setting(
        "CSRF_TRUSTED_ORIGINS",
        "list",
        "",
        "Origins, such as https://catalogue.example.com, whose pages may send forms and open sockets, beside its own.",
    ),
    Setting("DEBUG", "bool", "false", "Show tracebacks in the browser. Only for development."),
    Setting(
        "HTTPS",
        "bool",
        "false",
        "The service is reached by https alone: secure cookies, HSTS, and the proxy's X-Forwarded-Proto is believed.",
    ),
    Setting(
        "LOG_LEVEL",
        "str",
        "INFO",
        "How much is logged: DEBUG, INFO, WARNING, ERROR or CRITICAL.",
        choices=("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
    ),
    Setting(
        "LOG_FORMAT",
        "str",
        "auto",
        "`json`, `console`, or `auto`: console on a terminal, json elsewhere.",
        choices=("auto", "console", "json"),
    ),
    Setting(
        "METRICS_TOKEN",
        "str",
        "",
        "Who has it may read `/metrics`, as a bearer token. Unset: there is no such page.",
        secret=True,
    ),
    Setting(
        "SENTRY_DSN",
        "str",
        "",
        "Where errors are reported to: the DSN that Sentry shows for the project. Needs requirements-extras.txt. "
        "Unset: nowhere.",
        secret=True,
    ),
    Setting(
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "str",
        "",
        "OpenTelemetry collector that traces are sent to by OTLP over HTTP, such as http://collector:4318. Needs "
        "requirements-extras.txt. Unset: nothing is traced.",
    ),
    # servers
    Setting(
        "DATABASE_URL",
        "str",
        "",
        "postgresql://user:password@host:5432/name?sslmode=verify-full&sslrootcert=/path. "
        "Unset: a PostgreSQL of its own in ODATA_HOME.",
        secret=True,
    ),
    Setting(
        "DATABASE_POOLER_URL",
        "str",
        "",
        "PgBouncer in transaction mode, by which web and live servers reach the database: see deploy/pgbouncer.ini. "
        "Workers and commands always use DATABASE_URL.",
        secret=True,
    ),
    Setting(
        "DATABASE_REPLICA_URL",
        "str",
        "",
        "Streaming replica that exports are read from, as far as it has caught up with what was written before them.",
        secret=True,
    ),
    Setting("DATABASE_POOL_SIZE", "int", "20", "Connections that a web process keeps open.", minimum=1),
    Setting("DATABASE_POOL_OVERFLOW", "int", "30", "Connections it may open beyond these.", minimum=0),
    Setting("DATABASE_POOL_TIMEOUT", "int", "4", "Seconds to wait for a free one before answering 503.", minimum=1),
    Setting("WEB_STATEMENT_TIMEOUT", "int", "15", "Seconds after which a web request's statement is ended.", minimum=1),
    Setting(
        "REDIS_URL",
        "str",
        "",
        "redis://:password@host:6379/0, or rediss:// for TLS (?ssl_ca_certs=/path&ssl_cert_reqs=required). "
        "Unset: a Valkey of its own in ODATA_HOME.",
        secret=True,
    ),
    Setting(
        "S3_BUCKET",
        "str",
        "",
        "Bucket that uploaded files are kept in, so that processes may run on several machines. Needs "
        "requirements-extras.txt. Unset: the folder ODATA_HOME/files.",
    ),
    Setting(
        "S3_ENDPOINT_URL",
        "str",
        "",
        "Address of a server that speaks S3, such as https://minio.example.com:9000. Unset: Amazon's.",
    ),
    Setting("S3_REGION", "str", "", "Region of the bucket, such as eu-central-1."),
    Setting(
        "S3_ACCESS_KEY_ID",
        "str",
        "",
        "Who reads and writes in the bucket. Unset: what AWS_... or the machine's role say.",
    ),
    Setting("S3_SECRET_ACCESS_KEY", "str", "", "The secret that belongs to it.", secret=True),
    Setting("CELERY_BROKER_URL", "str", "", "The queue, where it is not REDIS_URL.", secret=True),
    Setting(
        "CELERY_RESULT_BACKEND",
        "str",
        "django-db",
        "Where the tasks of the clean-up keep what they came to: the admin shows what is in the database.",
    ),
    Setting(
        "API_RATE_LIMIT",
        "int",
        "60000",
        "Requests to the API that a token, a person, or the address of neither may make in a minute. 0: no limit.",
        minimum=0,
    ),
    # people
    Setting(
        "LOGIN_FAILURE_LIMIT", "int", "10", "Bad passwords for one name from one address before a lock.", minimum=1
    ),
    Setting(
        "LOGIN_ADDRESS_LIMIT",
        "int",
        "100",
        "Bad passwords for all names from one address, which many people may share, before a lock for all of them. "
        "0: no limit.",
        minimum=0,
    ),
    Setting("LOGIN_LOCK_MINUTES", "int", "15", "How long such a lock lasts.", minimum=1),
    Setting("REQUIRE_SECOND_FACTOR_FOR_STAFF", "bool", "false", "Staff see the admin only with a second factor."),
    Setting(
        "PROXY_COUNT",
        "int",
        "0",
        "Proxies in front of the web server that each add to X-Forwarded-For, and drop names of headers with a `_`. 0: "
        "the header is not believed.",
        minimum=0,
    ),
    # imports
    Setting("IMPORT_BATCH_SIZE", "int", "50000", "Rows that are merged into the catalogue at a time.", minimum=1),
    Setting("IMPORT_MAX_BYTES", "int", "5000000000", "Size of the largest file taken, in bytes.", minimum=1),
    Setting(
        "IMPORT_LEASE_SECONDS",
        "int",
        "20",
        "Time without a sign of life after which another worker takes an import over.",
        minimum=2,
    ),
    Setting("IMPORT_SWEEP_SECONDS", "int", "5", "How often overdue imports are looked for.", minimum=1),
    Setting("IMPORT_CHECK_HOURS", "int", "72", "How long a checked file waits for a decision.", minimum=1),
    Setting(
        "UPLOAD_QUOTA_BYTES",
        "int",
        "50000000000",
        "Bytes that one person may have here at a time, in uploads and in imports that have not ended. 0: no limit.",
        minimum=0,
    ),
    Setting("UPLOAD_EXPIRY_HOURS", "int", "24", "How long an unfinished upload is kept.", minimum=1),
    Setting(
        "IMPORT_FILE_DAYS",
        "int",
        "90",
        "How many days the file of an import that has ended is kept, and with it the rows that were rejected, "
        "duplicate or repaired. An undo needs neither. 0: for ever.",
        minimum=0,
    ),
    Setting(
        "IMPORT_DAYS",
        "int",
        "0",
        "How many days imports that failed, were cancelled or changed nothing are listed. Those that changed something "
        "stay. 0: for ever.",
        minimum=0,
    ),
    Setting(
        "AUDIT_DAYS",
        "int",
        "0",
        "How many days the audit log goes back. 0: for ever.",
        minimum=0,
    ),
    # webhooks
    Setting(
        "WEBHOOK_RETENTION_DAYS",
        "int",
        "30",
        "How long events, deliveries and attempts are kept, also those that wait for an endpoint that is off.",
        minimum=1,
    ),
    Setting(
        "WEBHOOK_SECRET_KEYS",
        "list",
        "",
        "Fernet keys that encrypt the secrets of webhooks and second factors in the database: the first encrypts, all "
        "decrypt. Unset: one is made once and kept in ODATA_HOME/webhook_secret_keys.",
        secret=True,
    ),
    Setting(
        "WEBHOOK_ALLOWED_CIDRS",
        "networks",
        "",
        "Networks that are not public and that webhooks may go to all the same, such as 10.1.0.0/16, or "
        "127.0.0.0/8,::1/128 for receivers on this machine.",
    ),
    Setting(
        "WEBHOOK_ALLOWED_PORTS",
        "ports",
        "80,443,8080,8443",
        "Ports that webhooks may go to.",
    ),
    Setting(
        "WEBHOOK_DNS_SERVERS",
        "list",
        "",
        "Name servers, such as 9.9.9.9 or 10.0.0.2:5353, that are asked for the names of receivers. Unset: "
        "the system's.",
    ),
    Setting(
        "WEBHOOK_CA_FILE",
        "str",
        "",
        "File of further certificate authorities (PEM) that receivers may have their certificates from.",
    ),
    Setting(
        "WEBHOOK_IN_FLIGHT",
        "int",
        "500",
        "Most requests that one dispatcher has open at a time.",
        minimum=1,
        maximum=5000,
    ),
    Setting(
        "WEBHOOK_ALERT_EMAILS",
        "list",
        "",
        "Who is told, besides the one who made it, of a webhook endpoint that fails or was turned off.",
    ),
    # e-mail
    Setting(
        "EMAIL_URL",
        "str",
        "",
        "Mail server: smtp://user:password@host:25, smtp+tls:// for STARTTLS, smtp+ssl:// for TLS, or consolemail:// "
        "to see mails in the log. Unset: none is sent, and the log and the pages alone tell.",
        secret=True,
    ),
    Setting("EMAIL_FROM", "str", "odata@localhost", "Sender of e-mails."),
    Setting(
        "SITE_URL",
        "str",
        "",
        "Where people find the service, such as https://catalogue.example.com: begins the links in e-mails.",
    ),
    # the first start
    Setting("SAMPLE", "int", "500000", "Rows of the sample file that `up` imports into an empty catalogue.", minimum=0),
    Setting("ADMIN_USERNAME", "str", "", "Makes this administrator at the first start, instead of the set-up link."),
    Setting("ADMIN_PASSWORD", "str", "", "That administrator's password.", secret=True),
)
