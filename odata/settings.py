"""Django's settings, one flat file. What the environment can change is declared in `odata.environment`."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import environ
from celery.schedules import crontab
from csp.constants import NONE, SELF
from django.core.management.utils import get_random_secret_key
from kombu import Queue

from common.env import SettingError, load_dotenv, read_settings
from odata.buckets import bucket
from odata.connections import broker_address, database_config, redis_address
from odata.embedded.places import Places
from odata.environment import SETTINGS
from odata.logs import logging_config
from odata.observability import problems as observability_problems
from odata.postgresql.answering import WatchfulConnection
from odata.secret_key import is_fernet_key, read_or_make_secret_key, read_or_make_webhook_keys

BASE_DIR = Path(__file__).resolve().parent.parent
UNREADABLE = load_dotenv(BASE_DIR / ".env")
ENV, SETTING_PROBLEMS = read_settings(SETTINGS, os.environ)
SETTING_PROBLEMS = [*UNREADABLE, *SETTING_PROBLEMS]
"""What can't be used is noted here, replaced by its default and refused by `odata.checks`."""

PROCESS = os.environ.get("ODATA_PROCESS", "command")
"""web, live, or anything else: only the first two share a pool of connections between requests."""

# --- where things are --------------------------------------------------------------------------

ODATA_HOME = (BASE_DIR / Path(ENV["ODATA_HOME"]).expanduser()).resolve()
PLACES = Places(ODATA_HOME)
EMBEDDED_POSTGRES = not ENV["DATABASE_URL"]
EMBEDDED_VALKEY = not ENV["REDIS_URL"]

# --- Django ------------------------------------------------------------------------------------


def secret_key() -> str:
    try:
        return ENV["SECRET_KEY"] or read_or_make_secret_key(PLACES)
    except OSError as error:
        problem = f"is {ODATA_HOME}, where {error.filename} can't be read or written: {error.strerror}"
        SETTING_PROBLEMS.append(SettingError("ODATA_HOME", problem))
        return get_random_secret_key()


DEBUG = ENV["DEBUG"]
SECRET_KEY = secret_key()
ALLOWED_HOSTS = ENV["ALLOWED_HOSTS"]
CSRF_TRUSTED_ORIGINS = ENV["CSRF_TRUSTED_ORIGINS"]
ROOT_URLCONF = "odata.urls"
WSGI_APPLICATION = "odata.wsgi.application"
ASGI_APPLICATION = "odata.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "daphne",  # first: its runserver replaces Django's
    "odata",
    "common",
    "accounts",
    "webhooks",
    "products",
    "axes",
    "django_otp",
    "odata.admin_site.AdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.postgres",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "channels",
    "csp",
    "django_celery_results",
    "django_structlog",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "rest_framework",
]

MIDDLEWARE = [
    "common.request_ids.RequestIdMiddleware",
    "odata.request_metrics.LatencyMiddleware",
    # What gives headers to answers comes first: those of all that follow have them, refusals and static files too.
    "odata.headers.AnswerHeadersMiddleware",
    "odata.csp.LiveServerCSPMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "common.log_hygiene.RequestLogMiddleware",
    "common.in_flight.InFlightMiddleware",
    "accounts.rate_limits.RateLimitMiddleware",
    "common.middleware.ProblemMiddleware",
    "common.bodies.JsonLimitMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django_otp.middleware.OTPMiddleware",
    "common.middleware.LazyMessageMiddleware",
    "axes.middleware.AxesMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "odata.context.live_server",
            ],
        },
    },
]

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True

STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STATICFILES_DIRS = [BASE_DIR / "static"]
# Uploaded product files are data, never pages: this storage has no URL.
STORAGES = {
    "default": bucket(ENV, SETTING_PROBLEMS)
    or {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {
            "location": ODATA_HOME / "files",
            "base_url": None,
            "file_permissions_mode": 0o600,
            "directory_permissions_mode": 0o700,
        },
    },
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedStaticFilesStorage"},
}
WHITENOISE_USE_FINDERS = True
WHITENOISE_ALLOW_ALL_ORIGINS = False
# Multipart uploads on their way; not the system's folder, which may be memory.
FILE_UPLOAD_TEMP_DIR = ODATA_HOME / "uploads"
FILE_UPLOAD_HANDLERS = ["common.form_files.NoFiles"]

# --- people ------------------------------------------------------------------------------------

AUTH_USER_MODEL = "accounts.User"
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "import-list"
LOGOUT_REDIRECT_URL = "login"
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]

# Too many bad passwords for one name from one address: no more tries for a while, in every process alike,
# since they are counted in PostgreSQL. Names nobody has are counted too, so that a lock tells nothing.
AXES_FAILURE_LIMIT = ENV["LOGIN_FAILURE_LIMIT"]
AXES_COOLOFF_TIME = timedelta(minutes=ENV["LOGIN_LOCK_MINUTES"])
AXES_HANDLER = "accounts.lockout.Locks"
LOGIN_ADDRESS_LIMIT = ENV["LOGIN_ADDRESS_LIMIT"]
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_LOCKOUT_CALLABLE = "accounts.lockout.locked_out"
AXES_CLIENT_IP_CALLABLE = "common.client_ip.neighbourhood"
AXES_SENSITIVE_PARAMETERS = ["username", "ip_address", "code"]  # of forms, which it keeps; passwords are by themselves
AXES_RESET_ON_SUCCESS = True
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False  # else who goes on trying keeps others of their address out
AXES_DISABLE_ACCESS_LOG = True  # accounts.audit keeps it
AXES_ENABLE_ADMIN = False
AXES_VERBOSE = False
REQUIRE_SECOND_FACTOR_FOR_STAFF = ENV["REQUIRE_SECOND_FACTOR_FOR_STAFF"]
OTP_TOTP_ISSUER = "OData Backend"
DRAIN_SECONDS = ENV["DRAIN_SECONDS"]
PROXY_COUNT = ENV["PROXY_COUNT"]
METRICS_TOKEN = ENV["METRICS_TOKEN"]

# --- security ----------------------------------------------------------------------------------

HTTPS = ENV["HTTPS"]
SESSION_ENGINE = "accounts.sessions"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = HTTPS
SECURE_SSL_REDIRECT = HTTPS
SECURE_REDIRECT_EXEMPT = [r"^livez$", r"^readyz$", r"^metrics$"]  # asked from inside, by plain HTTP
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
X_FRAME_OPTIONS = "DENY"
CSRF_FAILURE_VIEW = "common.problems.csrf_failure"
# Forms and JSON bodies; product files are streamed and have their own limit, IMPORT_MAX_BYTES.
DATA_UPLOAD_MAX_MEMORY_SIZE = 5 * 1024 * 1024

# The live server may have a port, even a host of its own: `odata.context` adds it to connect-src.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
    }
}

# --- PostgreSQL --------------------------------------------------------------------------------


def session_options(**settings: str) -> str:
    """libpq's `options`: settings that every session starts with."""
    return " ".join(f"-c {name}={value}" for name, value in settings.items())


LOST_NETWORK = {"tcp_user_timeout": 15_000, "keepalives_idle": 5, "keepalives_interval": 5, "keepalives_count": 2}
"""libpq's: a server whose network lost it is given up after 15 s, while an import's lease lasts, and not after the two
hours that TCP takes by itself. What the URL says goes before."""


def database() -> dict[str, Any]:
    """The one database. Requests share a pool; workers have none, since Celery closes a pool at
    every task boundary, and a pool must not be carried over a fork."""
    try:
        config = database_config(ENV["DATABASE_URL"] or PLACES.database_url)
    except SettingError as problem:
        SETTING_PROBLEMS.append(problem)
        config = database_config(PLACES.database_url)
    pooled = PROCESS in ("web", "live") and bool(ENV["DATABASE_POOLER_URL"])
    if pooled:
        try:
            config = database_config(ENV["DATABASE_POOLER_URL"], "DATABASE_POOLER_URL")
        except SettingError as problem:
            SETTING_PROBLEMS.append(problem)
        config["DISABLE_SERVER_SIDE_CURSORS"] = True  # one would outlive the transaction it was opened in
    config["CONN_MAX_AGE"] = 0  # the pool keeps connections; under ASGI an age would leak them
    config["ENGINE"] = "odata.postgresql"  # which looks whether what the pool hands out is alive
    config["CONN_HEALTH_CHECKS"] = PROCESS not in ("web", "live")  # else the pool would ask as well, by a statement
    guards = {
        # A half-dead client must not hold locks: its statement ends, its transaction too.
        "client_connection_check_interval": "5s",
        "idle_in_transaction_session_timeout": "60s",
        "lock_timeout": "5s",
    }
    options = config.setdefault("OPTIONS", {})
    options |= {**LOST_NETWORK, **options, "connect_timeout": 3, "application_name": f"odata-{PROCESS}"}
    if PROCESS in ("web", "live"):
        guards["statement_timeout"] = f"{ENV['WEB_STATEMENT_TIMEOUT']}s"
        least = ENV["DATABASE_POOL_SIZE"] if PROCESS == "web" else 1
        options["pool"] = {
            "min_size": least,
            "max_size": least + ENV["DATABASE_POOL_OVERFLOW"],
            "timeout": ENV["DATABASE_POOL_TIMEOUT"],
            # Longer than anybody waits for one, the pool need not try: its pauses grow, and it would not see for as
            # long again that the server is back.
            "reconnect_timeout": ENV["DATABASE_POOL_TIMEOUT"],
            "connection_class": WatchfulConnection,
        }
    if not pooled:  # there it is the pooler that gives them to its sessions: see deploy/pgbouncer.ini
        options["options"] = session_options(**guards)
    return config


DATABASES = {"default": database()}


def replica() -> dict[str, Any]:
    """For `common.replica` alone, which says what is read there; each reader has a connection of its own."""
    config = database_config(ENV["DATABASE_REPLICA_URL"], "DATABASE_REPLICA_URL")
    options = config.setdefault("OPTIONS", {})
    guards = {"client_connection_check_interval": "5s", "lock_timeout": "5s", "default_transaction_read_only": "on"}
    options |= {**LOST_NETWORK, **options, "connect_timeout": 3, "application_name": f"odata-{PROCESS}"}
    options["options"] = session_options(**guards)
    return config


if ENV["DATABASE_REPLICA_URL"]:
    try:
        DATABASES["replica"] = replica()
    except SettingError as problem:
        SETTING_PROBLEMS.append(problem)

# --- Valkey or Redis ---------------------------------------------------------------------------


def redis_url(name: str, default: str) -> str:
    try:
        return redis_address(name, ENV[name] or default)
    except SettingError as problem:
        SETTING_PROBLEMS.append(problem)
        return default


REDIS_URL = redis_url("REDIS_URL", PLACES.redis_url)
# The socket library's default is to wait for ever: a broker that swallows packets must not.
REDIS_TIMEOUTS: dict[str, Any] = {
    "socket_connect_timeout": 1,
    "socket_timeout": 5,
    "socket_keepalive": True,
    "health_check_interval": 20,
}
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.core.RedisChannelLayer",
        "CONFIG": {
            # The layer waits 5 s for a message at a time: a shorter patience would end each wait with an error.
            "hosts": [{"address": REDIS_URL, "socket_connect_timeout": 1, "socket_timeout": 15}],
            "prefix": "odata:live",
        },
    },
}

# --- Celery ------------------------------------------------------------------------------------
# The import's row in PostgreSQL is the truth; a message here only rings the bell. Losing one
# costs IMPORT_SWEEP_SECONDS, a second copy finds nothing to do.

CELERY_BROKER_URL = broker_address(redis_url("CELERY_BROKER_URL", REDIS_URL))
# Of the clean-up's tasks alone results are kept, for `odata.admin`. What the others came to is in our own tables, and
# the sweeps of every few seconds come to nothing that anybody would look up.
CELERY_RESULT_BACKEND = ENV["CELERY_RESULT_BACKEND"]
CELERY_RESULT_EXTENDED = True  # with the name of the task
CELERY_RESULT_EXPIRES = 7 * 24 * 3600  # beat's celery.backend_cleanup removes older ones at night
CELERY_TASK_IGNORE_RESULT = True
# Acknowledged before it is worked on. A late one that fails, because the queue went away meanwhile, leaves
# the worker with a message too many in hand: it then takes no other, also when the queue is back. What
# a killed worker leaves undone is found by its lease, not by a message that comes back.
CELERY_TASK_ACKS_LATE = False
CELERY_TASK_REJECT_ON_WORKER_LOST = False
# An import must not wait behind another in a busy worker's hands while a second worker has nothing to do: with
# early acknowledgement even a multiplier of 1 lets a busy worker take one message more.
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_DISABLE_PREFETCH = True
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False  # a blip must not end a long import
CELERY_WORKER_ENABLE_REMOTE_CONTROL = False  # nobody commands the workers through the queue
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None  # the default gives up after 100
CELERY_TASK_PUBLISH_RETRY = False  # a request never waits for the queue: the sweeper sends it later
CELERY_BROKER_TRANSPORT_OPTIONS = {
    **REDIS_TIMEOUTS,
    "visibility_timeout": 6 * 3600,  # longer than any import: the lease, not this, finds lost work
    "max_retries": 0,  # of a message that is sent: by default an upload waits 6 s for a queue that is down
}
CELERY_TASK_QUEUES = [Queue("imports"), Queue("default"), Queue("webhooks")]
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_TASK_CREATE_MISSING_QUEUES = False
CELERY_TASK_ROUTES = {
    "products.tasks.run_import": {"queue": "imports"},
    "webhooks.tasks.deliver": {"queue": "webhooks"},
}
CELERY_BEAT_SCHEDULE = {
    "sweep-imports": {
        "task": "products.tasks.sweep_imports",
        "schedule": ENV["IMPORT_SWEEP_SECONDS"],
        # Sweeps that piled up while no worker ran are worth nothing.
        "options": {"expires": 4 * ENV["IMPORT_SWEEP_SECONDS"]},
    },
    "remove-orphan-files": {"task": "products.tasks.remove_orphan_files", "schedule": 3600},
    "remove-expired-uploads": {"task": "products.tasks.remove_expired_uploads", "schedule": 3600},
    "remove-expired-replies": {"task": "accounts.tasks.remove_expired_replies", "schedule": 3600},
    "push-changes": {"task": "products.tasks.push_changes", "schedule": 5, "options": {"expires": 20}},
    # Retries come due, and nudges get lost. Each tick starts a dispatcher where one is free, if there is work.
    "deliver-webhooks": {"task": "webhooks.tasks.deliver", "schedule": 2, "options": {"expires": 4}},
    "keep-webhook-days": {"task": "webhooks.tasks.keep_days", "schedule": 3600},
    "remove-what-is-old": {"task": "odata.tasks.remove_what_is_old", "schedule": crontab(hour="3", minute="17")},
    "worker-heartbeat": {"task": "odata.tasks.worker_heartbeat", "schedule": 10, "options": {"expires": 30}},
}
CELERY_BEAT_SCHEDULE_FILENAME = str(ODATA_HOME / "celerybeat-schedule")

# --- REST --------------------------------------------------------------------------------------

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "accounts.authentication.BearerAuthentication",
        "accounts.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["accounts.access.HasScope", "common.parameters.KnownParameters"],
    "DEFAULT_THROTTLE_CLASSES": ["accounts.rate_limits.ClientThrottle"],
    "DEFAULT_RENDERER_CLASSES": ["common.rendering.FastJSONRenderer"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "common.rendering.ShortNegotiation",
    "DEFAULT_PARSER_CLASSES": ["common.bodies.ShallowJSONParser"],
    "DEFAULT_PAGINATION_CLASS": "common.pagination.KeysetPages",
    "DEFAULT_SCHEMA_CLASS": "common.openapi.Schema",
    "EXCEPTION_HANDLER": "common.problems.exception_handler",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}
API_RATE_LIMIT = ENV["API_RATE_LIMIT"]
WEB_THREADS = ENV["WEB_THREADS"]
WEB_MAX_IN_FLIGHT = ENV["WEB_MAX_IN_FLIGHT"]
SPECTACULAR_SETTINGS = {
    "TITLE": "OData Backend",
    "DESCRIPTION": (
        "A product catalogue that takes files of 500,000 rows and tells others what changed. Say who you are by "
        "`Authorization: Bearer <token>`. Lists come page by page: follow `next` until it is null. Every error is "
        "`application/problem+json` with a stable `code`. A `POST` may have an `Idempotency-Key`, and is then done "
        "once however often it is sent."
    ),
    "TAGS": [
        {"name": "products", "description": "The catalogue: read, written, exported, and followed change by change."},
        {"name": "imports", "description": "Files on their way into the catalogue: checked, watched, applied, undone."},
        {"name": "webhooks", "description": "Who is told of what happens here, and what came of it."},
        {"name": "sockets", "description": "Tickets for the WebSockets that show an import while it runs."},
        {"name": "original paths", "description": "Those of the service before this one; the code behind is the same."},
    ],
    "VERSION": "1",
    "OAS_VERSION": "3.1.1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_NAME_OVERRIDES": {
        "ProductStatus": ["active", "inactive"],
        "ProductChangeAction": "products.models.ProductChange.Action",
        "ChangeAction": "products.changes.Action",
        "ChangedField": "products.api.changes.Field",
        "BulkAction": ["upsert", "delete"],
        "BulkStatus": "products.writes.Status",
        "ImportState": "products.models.Import.State",
        "ImportPhase": "products.models.Import.Phase",
        "ImportKind": "products.models.Import.Kind",
        "ImportMode": "products.models.Import.Mode",
        "OnError": "products.models.Import.OnError",
        "Duplicates": "products.models.Import.Duplicates",
        "EmptyCells": "products.models.Import.EmptyCells",
        "RowOutcome": "products.models.ReportedRow.Outcome",
        "SignatureKind": "webhooks.models.SignatureKind",
        "DeliveryState": "webhooks.models.Delivery.State",
        "DeliveryLane": [("interactive", "Interactive"), ("import", "Import")],
        "RedeliveryState": [("failed", "Failed"), ("delivered", "Delivered"), ("all", "All")],
        "Trigger": "webhooks.models.Trigger",
        "EventTypeName": "webhooks.event_types.NAMES",
    },
    "COMPONENT_SPLIT_PATCH": False,  # what a PATCH takes has a serializer of its own
    "SWAGGER_UI_DIST": "SIDECAR",  # from our own static files: no foreign host
    "SWAGGER_UI_FAVICON_HREF": "/static/favicon.svg",
    "SWAGGER_UI_SETTINGS": {"deepLinking": True, "validatorUrl": None, "persistAuthorization": False},
    "REDOC_DIST": "SIDECAR",
    "POSTPROCESSING_HOOKS": ["drf_spectacular.hooks.postprocess_schema_enums", "common.openapi.complete"],
}

# --- imports -----------------------------------------------------------------------------------

IMPORT_BATCH_SIZE = ENV["IMPORT_BATCH_SIZE"]
IMPORT_MAX_BYTES = ENV["IMPORT_MAX_BYTES"]
IMPORT_LEASE_SECONDS = ENV["IMPORT_LEASE_SECONDS"]
IMPORT_CHECK_HOURS = ENV["IMPORT_CHECK_HOURS"]
UPLOAD_QUOTA_BYTES = ENV["UPLOAD_QUOTA_BYTES"]
UPLOAD_EXPIRY_HOURS = ENV["UPLOAD_EXPIRY_HOURS"]
IMPORT_FILE_DAYS = ENV["IMPORT_FILE_DAYS"]
IMPORT_DAYS = ENV["IMPORT_DAYS"]
AUDIT_DAYS = ENV["AUDIT_DAYS"]
LIVE_URL = ENV["LIVE_URL"]
LIVE_PORT = ENV["LIVE_PORT"]
LIVE_SOCKETS_PER_USER = ENV["LIVE_SOCKETS_PER_USER"]

# --- webhooks ----------------------------------------------------------------------------------

WEBHOOK_RETENTION_DAYS = ENV["WEBHOOK_RETENTION_DAYS"]


def webhook_secret_keys() -> list[str]:
    """None where there is a problem: what a key of this process alone encrypted would be lost with it."""
    try:
        keys: list[str] = ENV["WEBHOOK_SECRET_KEYS"] or read_or_make_webhook_keys(PLACES).split(",")
    except OSError as error:
        problem = f"is {ODATA_HOME}, where {error.filename} can't be read or written: {error.strerror}"
        SETTING_PROBLEMS.append(SettingError("ODATA_HOME", problem))
        return []
    keys = [key.strip() for key in keys]
    if not all(map(is_fernet_key, keys)):
        problem = "is (hidden) and must be Fernet keys, each the URL-safe base64 of 32 bytes, with commas between them"
        SETTING_PROBLEMS.append(SettingError("WEBHOOK_SECRET_KEYS", problem))
        return []
    return keys


WEBHOOK_SECRET_KEYS = webhook_secret_keys()
WEBHOOK_ALLOWED_CIDRS = ENV["WEBHOOK_ALLOWED_CIDRS"]
WEBHOOK_ALLOWED_PORTS = ENV["WEBHOOK_ALLOWED_PORTS"]
WEBHOOK_DNS_SERVERS = ENV["WEBHOOK_DNS_SERVERS"]
WEBHOOK_CA_FILE = ENV["WEBHOOK_CA_FILE"]

WEBHOOK_IN_FLIGHT = ENV["WEBHOOK_IN_FLIGHT"]
WEBHOOK_ALERT_EMAILS = ENV["WEBHOOK_ALERT_EMAILS"]

# --- e-mail ------------------------------------------------------------------------------------


def email_backend() -> dict[str, Any]:
    """Django's settings for the mail server of EMAIL_URL; without one, mails go nowhere."""
    if not ENV["EMAIL_URL"]:
        return {"EMAIL_BACKEND": "django.core.mail.backends.dummy.EmailBackend"}
    try:
        config: dict[str, Any] = environ.Env.email_url_config(ENV["EMAIL_URL"])
    except (KeyError, ValueError):
        problem = "is (hidden) and must be a URL such as smtp+tls://user:password@mail.example.com:587"
        SETTING_PROBLEMS.append(SettingError("EMAIL_URL", problem))
        return {"EMAIL_BACKEND": "django.core.mail.backends.dummy.EmailBackend"}
    return config


globals().update(email_backend())
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = SERVER_EMAIL = ENV["EMAIL_FROM"]
SITE_URL = ENV["SITE_URL"]

# --- logs, errors, traces ----------------------------------------------------------------------

LOGGING_CONFIG = "logging.config.dictConfig"
LOGGING = logging_config(ENV["LOG_LEVEL"], ENV["LOG_FORMAT"])
DJANGO_STRUCTLOG_CELERY_ENABLED = True
DJANGO_STRUCTLOG_TRUST_UPSTREAM_REQUEST_ID = True  # `common.request_ids` has looked at it before
SENTRY_DSN = ENV["SENTRY_DSN"]
OTEL_EXPORTER_OTLP_ENDPOINT = ENV["OTEL_EXPORTER_OTLP_ENDPOINT"]
SETTING_PROBLEMS += observability_problems(SENTRY_DSN, OTEL_EXPORTER_OTLP_ENDPOINT)
