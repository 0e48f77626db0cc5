"""docker-compose.yml, Dockerfile and Caddyfile: they run what the code has, and no more than they must."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from configparser import ConfigParser
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import pytest
import requests
import yaml
from celery.app.utils import find_app
from django.conf import settings
from django.core.management import get_commands
from django.urls import Resolver404, resolve
from pytest_django.live_server_helper import LiveServer

from common.tests.addresses import free_port, listens
from common.tests.waiting import wait_until
from odata.environment import SETTINGS
from odata.processes import Process, processes
from products.routing import websocket_urlpatterns
from tests.test_headers import lacks

ROOT = settings.BASE_DIR
TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
CADDYFILE = (ROOT / "deploy" / "Caddyfile").read_text(encoding="utf-8")

VARIABLE = re.compile(r"\$\{([A-Z_]+)(?::([-?])([^}]*))?\}")
"""`${NAME}`, `${NAME:-default}` or `${NAME:?what is missing}`."""
SECRETS = {"SECRET_KEY", "POSTGRES_PASSWORD"}
OF_COMPOSE = {"POSTGRES_PASSWORD", "SITE_ADDRESS", "HTTP_PORT", "HTTPS_PORT"}
"""Variables that only docker-compose.yml knows. Its head and the README tell of them."""
OF_OURS = {setting.name for setting in SETTINGS} | {"ODATA_PROCESS"}
OF_IMAGES = {
    "postgres": {"POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD", "POSTGRES_INITDB_ARGS"},
    "caddy": {"SITE_ADDRESS"},
}

COMPOSE = yaml.safe_load(VARIABLE.sub(lambda found: found[3] if found[2] == "-" else f"the-{found[1]}", TEXT))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PROCESSES = processes(host="0.0.0.0")  # noqa: S104 - in a container, and compared with only
OF_PROCESSES = {name for process in PROCESSES for name in process.env}
OURS = {name for name, service in SERVICES.items() if service["image"].startswith("odata-backend:")}

every_service = pytest.mark.parametrize("name", SERVICES)
every_process = pytest.mark.parametrize("process", PROCESSES, ids=[process.role for process in PROCESSES])


def command_of(name: str) -> list[str]:
    return shlex.split(SERVICES[name]["command"])


def seconds(duration: str) -> int:
    return int(duration[:-1]) * {"s": 1, "m": 60}[duration[-1]]


def test_it_has_a_service_for_every_process_and_everything_they_need() -> None:
    assert {process.role for process in PROCESSES} | {"migrate"} == OURS
    assert set(SERVICES) - OURS == {"postgres", "valkey", "caddy"}


@every_process
def test_it_runs_each_process_as_up_does(process: Process) -> None:
    common = SERVICES["migrate"]["environment"] | {"ODATA_PROCESS": process.role}

    assert command_of(process.role) == ["python", "-m", *process.command]
    assert SERVICES[process.role]["environment"] == common | process.env


@every_process
def test_it_gives_each_process_the_time_to_stop_that_up_gives(process: Process) -> None:
    assert seconds(SERVICES[process.role]["stop_grace_period"]) >= process.stop_seconds


@every_process
def test_every_command_can_be_run(process: Process) -> None:
    _, _, program, *arguments = command_of(process.role)

    assert find_spec(program)
    if program == "celery":
        assert find_app(arguments[arguments.index("-A") + 1]).main == "odata"
    else:
        module, name = arguments[-1].split(":")
        # In a process of its own: with the import it becomes the web or the live process.
        code = f"from {module} import {name}; raise SystemExit(not callable({name}))"
        assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_the_one_shot_command_is_one_of_manage_py() -> None:
    _, script, command, *_ = command_of("migrate")

    assert (ROOT / script).is_file()
    assert command in get_commands()


def test_every_queue_has_a_worker() -> None:
    commands = [command_of(name) for name in OURS]
    served = {command[command.index("-Q") + 1] for command in commands if "-Q" in command}

    assert served == {queue.name for queue in settings.CELERY_TASK_QUEUES}


@every_service
def test_every_variable_is_a_known_one(name: str) -> None:
    known = OF_OURS | OF_PROCESSES if name in OURS else OF_IMAGES.get(name, set())

    assert set(SERVICES[name].get("environment", {})) <= known


def test_every_variable_it_asks_for_is_a_setting_or_explained() -> None:
    asked = {name for name, _, _ in VARIABLE.findall(TEXT)}
    head = TEXT.partition("\nx-common")[0]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    assert asked <= OF_OURS | OF_COMPOSE
    for name in (asked & OF_COMPOSE) | SECRETS:
        assert name in head
        assert f"`{name}`" in readme


def test_it_does_not_start_without_its_secrets_and_says_what_is_missing() -> None:
    sentences = {name: text for name, kind, text in VARIABLE.findall(TEXT) if kind == "?"}

    assert set(sentences) == SECRETS
    for name, sentence in sentences.items():
        assert sentence.startswith(f"Put a line {name}=")


@every_service
def test_every_service_says_whether_it_is_well_or_ends_by_itself(name: str) -> None:
    service = SERVICES[name]

    if service["restart"] == "no":
        assert name == "migrate"
    else:
        assert service["restart"] == "unless-stopped"
        assert service["healthcheck"]["start_period"]


@every_service
def test_every_service_waits_until_what_it_needs_is_well(name: str) -> None:
    for needed, how in SERVICES[name].get("depends_on", {}).items():
        well = "service_completed_successfully" if SERVICES[needed]["restart"] == "no" else "service_healthy"
        assert how == {"condition": well}


def test_the_health_checks_ask_the_ports_that_the_servers_listen_on() -> None:
    environment = SERVICES["web"]["environment"]
    web, live = SERVICES["web"]["healthcheck"]["test"][-1], SERVICES["live"]["healthcheck"]["test"][-1]
    queue = SERVICES["worker-imports"]["healthcheck"]["test"][-1]

    assert f":{environment['PORT']}/readyz" in web
    assert f":{environment['LIVE_PORT']}/livez" in live
    assert f":{urlsplit(environment['REDIS_URL']).port:04X} 01 " in queue


def test_the_health_check_of_web_passes_where_web_answers_and_fails_where_not(live_server: LiveServer) -> None:
    code = SERVICES["web"]["healthcheck"]["test"][-1]
    port = urlsplit(live_server.url).port

    def status(port: object) -> int:
        command = [sys.executable, "-c", code.replace(":8000", f":{port}")]
        return subprocess.run(command, capture_output=True, check=False).returncode

    assert status(port) == 0
    assert status(free_port()) == 1


def test_only_the_proxy_can_be_reached_from_outside() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["caddy"]


def test_database_and_queue_are_in_a_network_of_our_processes_alone() -> None:
    inside = {name for name, service in SERVICES.items() if "stores" in service["networks"]}

    assert COMPOSE["networks"]["stores"]["internal"]
    assert SERVICES["postgres"]["networks"] == SERVICES["valkey"]["networks"] == ["stores"]
    assert inside == OURS | {"postgres", "valkey"}


@every_service
def test_no_service_has_more_rights_than_it_needs(name: str) -> None:
    service = SERVICES[name]

    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service.get("cap_add", []) == (["NET_BIND_SERVICE"] if name == "caddy" else [])


@every_service
def test_every_service_may_write_into_its_volumes_and_memory_alone(name: str) -> None:
    service = SERVICES[name]
    places = [mount.split(":")[0] for mount in service.get("tmpfs", [])]

    assert service["read_only"]
    assert "/tmp" in places
    assert all(":" in volume and not volume.startswith((".", "/")) for volume in service.get("volumes", []))


def test_postgres_keeps_rows_out_of_its_log() -> None:
    assert {"log_min_error_statement=panic", "log_error_verbosity=terse"} <= set(command_of("postgres"))


def test_a_container_of_the_image_alone_is_reached_at_the_ports_that_it_publishes() -> None:
    image = dict(word.split("=", 1) for word in DOCKERFILE.split(" AS app")[1].split() if re.match(r"[A-Z_]+=", word))

    assert image["HOST"] == "0.0.0.0"  # noqa: S104 - of the container


@every_service
def test_no_service_runs_as_root(name: str) -> None:
    service = SERVICES[name]
    user = service.get("user") or last_user(service["build"]["target"])

    assert user.split(":")[0] not in ("", "0", "root")


def last_user(target: str) -> str:
    """As whom the image of this stage runs; empty if the stage doesn't say."""
    stage = DOCKERFILE.partition(f" AS {target}\n")[2].partition("\nFROM ")[0]
    users: list[str] = re.findall(r"^USER (\S+)$", stage, re.MULTILINE)
    return users[-1] if users else ""


def test_every_image_is_pinned_to_a_version() -> None:
    pulled = [service["image"] for service in SERVICES.values() if "build" not in service]
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)

    for image in pulled + bases:
        assert re.search(r":\d", image), f"{image} has no version"


def test_what_must_outlive_a_container_is_on_a_volume() -> None:
    mounts = {name: dict(volume.split(":")[::-1] for volume in SERVICES[name].get("volumes", [])) for name in SERVICES}

    # Not .../data, where version 18 of the image refuses to start.
    assert mounts["postgres"] == {"/var/lib/postgresql": "db"}
    assert mounts["valkey"] == {"/data": "valkey"}
    for name in OURS:
        assert mounts[name][SERVICES[name]["environment"]["ODATA_HOME"]] == "files"
    assert {volume for each in mounts.values() for volume in each.values()} == set(COMPOSE["volumes"])


def let_into_the_build() -> set[str]:
    """What .dockerignore lets docker see."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    first, *rules = [line for line in lines if line and not line.startswith("#")]
    assert first == "*"
    return {rule[1:] for rule in rules if rule.startswith("!")}


def test_the_image_holds_every_app_and_nothing_private() -> None:
    let_in = let_into_the_build()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

    assert let_in >= {*project["tool"]["importlinter"]["root_packages"], "static", "templates", "manage.py"}
    assert all((ROOT / name).exists() for name in let_in)
    assert let_in.isdisjoint({".env", "var", ".git", "tests"})


def test_docker_sees_every_file_that_the_images_are_made_of() -> None:
    copied = [line.split()[:-1] for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)]
    named = {source for sources in copied for source in sources} - {"."}

    assert named
    assert named <= let_into_the_build()


# --- the proxy ----------------------------------------------------------------------------------


def socket_paths() -> list[str]:
    """A path for each pattern of `products.routing` but the last, which takes whatever is left."""
    patterns = [str(each.pattern) for each in websocket_urlpatterns[:-1]]
    return ["/" + re.sub(r"\(\?P<\w+>[^)]*\)", "1234", pattern).strip("^$?") for pattern in patterns]


def goes_to_live(path: str) -> bool:
    found = re.search(r"^\t@live path (.+)$", CADDYFILE, re.MULTILINE)
    assert found
    return any(fnmatch(path, pattern) for pattern in found[1].split())


@pytest.mark.parametrize("path", socket_paths())
def test_sockets_go_to_live_and_web_has_nothing_there(path: str) -> None:
    assert goes_to_live(path)
    assert goes_to_live(path.rstrip("/"))
    with pytest.raises(Resolver404):
        resolve(path)


@pytest.mark.parametrize(
    "path", ["/", "/imports/", "/api/v1/imports/", "/products/csv", "/admin/", "/static/odata.css"]
)
def test_all_the_rest_goes_to_web(path: str) -> None:
    assert not goes_to_live(path)


def test_it_passes_on_to_the_two_servers_by_their_ports() -> None:
    environment = SERVICES["web"]["environment"]

    assert f"{{$WEB_SERVER:web:{environment['PORT']}}}" in CADDYFILE
    assert f"{{$LIVE_SERVER:live:{environment['LIVE_PORT']}}}" in CADDYFILE


def test_it_sets_no_limit_to_uploads_below_our_own() -> None:
    assert "request_body" not in CADDYFILE
    assert "request_buffers" not in CADDYFILE


def test_its_own_errors_have_the_headers_of_ours() -> None:
    errors = CADDYFILE.partition("handle_errors {")[2]
    found = dict(re.findall(r'^\t\t\t([A-Z][A-Za-z-]+) "?([^"\n]+)"?$', errors, re.MULTILINE))

    assert lacks(SimpleNamespace(headers=found)) == []


# --- the machine's own start ---------------------------------------------------------------------


def test_systemd_leaves_the_stop_to_up_and_gives_it_the_time_that_it_may_take() -> None:
    unit = ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]  # as its documentation tells
    unit.read_string((ROOT / "deploy" / "odata.service").read_text(encoding="utf-8"))
    service = unit["Service"]
    database_and_queue = 300 + 60
    longest = sum(process.stop_seconds for process in processes(drain_seconds=300)) + database_and_queue

    assert service["ExecStart"].endswith(".venv/bin/python manage.py up")
    assert service["ExecStart"].startswith(service["WorkingDirectory"])
    assert service["KillMode"] == "mixed"
    assert int(service["TimeoutStopSec"].removesuffix("min")) * 60 >= longest


# --- the programs themselves, where they are there ----------------------------------------------


def has_compose() -> bool:
    asked = ["docker", "compose", "version"]
    return bool(shutil.which("docker")) and subprocess.run(asked, capture_output=True, check=False).returncode == 0


def test_docker_compose_accepts_the_file() -> None:
    if not has_compose():
        pytest.skip("`docker compose version` fails here, so nobody can say whether docker accepts the file")
    env = {**os.environ, **dict.fromkeys(SECRETS, "only-for-tests")}
    command = ["docker", "compose", "--file", str(ROOT / "docker-compose.yml"), "config", "--quiet"]

    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")


def test_caddy_accepts_the_file() -> None:
    if not shutil.which("caddy"):
        pytest.skip("there is no caddy here to ask")
    command = ["caddy", "validate", "--adapter", "caddyfile", "--config", str(ROOT / "deploy" / "Caddyfile")]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


def test_caddy_accepts_the_file_with_the_load_balancing_that_the_docs_tell_of(tmp_path: Path) -> None:
    if not shutil.which("caddy"):
        pytest.skip("there is no caddy here to ask")
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    (several,) = re.findall(r"```caddy\n(.*?)```", page, re.DOTALL)
    before, ours, after = re.split(r"(?=\thandle @live {)|(?=\t# A server that is away)", CADDYFILE)
    assert ours.count("reverse_proxy") == several.count("reverse_proxy") == 2
    (tmp_path / "Caddyfile").write_text(before + several + after, encoding="utf-8")
    command = ["caddy", "validate", "--adapter", "caddyfile", "--config", str(tmp_path / "Caddyfile")]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr


class Echo(BaseHTTPRequestHandler):
    """In the place of the web server: says by what id it was asked, and what headers there were."""

    def do_GET(self) -> None:
        body = self.headers["X-Request-ID"].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Asked-With", " ".join(self.headers))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[str]:
    """The address of a Caddy with our file, in front of an Echo."""
    if not shutil.which("caddy"):
        pytest.skip("there is no caddy here to ask")
    port = free_port()
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        env = os.environ | {
            "SITE_ADDRESS": f"http://127.0.0.1:{port}",
            "WEB_SERVER": f"127.0.0.1:{web.server_port}",
            "LIVE_SERVER": f"127.0.0.1:{free_port()}",
            "XDG_CONFIG_HOME": str(tmp_path),
            "XDG_DATA_HOME": str(tmp_path),
            "CADDY_ADMIN": f"127.0.0.1:{free_port()}",
        }
        command = ["caddy", "run", "--adapter", "caddyfile", "--config", str(ROOT / "deploy" / "Caddyfile")]
        with (tmp_path / "log").open("wb") as log:
            caddy = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        try:
            wait_until(lambda: listens(port) or caddy.poll() is not None, "Caddy answers", 10)
            yield f"http://127.0.0.1:{port}"
        finally:
            caddy.terminate()
            caddy.wait(10)
            web.shutdown()


def test_caddy_names_each_request_and_leaves_a_usable_name_alone(proxy: str) -> None:
    def asked(**headers: str) -> str:
        return requests.get(proxy, headers=headers, timeout=5).text

    assert asked(**{"X-Request-ID": "from-a-client"}) == "from-a-client"
    assert UUID(asked()) != UUID(asked())
    assert UUID(asked(**{"X-Request-ID": "<script>" + "x" * 60}))


def test_caddy_passes_no_header_on_that_could_be_taken_for_its_own(proxy: str) -> None:
    """WSGI knows no difference between `_` and `-` in names."""
    answer = requests.get(proxy, headers={"X_Forwarded_For": "1.2.3.4", "x-forwarded_proto": "https"}, timeout=5)

    assert "X-Forwarded-For" in answer.headers["X-Asked-With"].split()
    assert "_" not in answer.headers["X-Asked-With"]
