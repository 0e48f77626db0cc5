"""URLs of servers: what is refused, and that TLS is spoken by queue and channel layer alike."""

from __future__ import annotations

import datetime
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import kombu
import pytest
from asgiref.sync import async_to_sync
from channels_redis.core import RedisChannelLayer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from django.conf import settings
from kombu.exceptions import OperationalError

from common.env import SettingError
from odata.connections import broker_address, database_config, redis_address


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("mysql://ada@db/odata", "DATABASE_URL must start with postgresql://"),
        ("postgresql://ada@db", "DATABASE_URL names no database"),
        ("postgresql://ada@db:port/odata", "DATABASE_URL is not a URL that can be read"),
        (
            "postgresql://ada@db/odata?sslrootcert=/no/ca.pem",
            "DATABASE_URL has sslrootcert=/no/ca.pem, and there is no",
        ),
    ],
)
def test_it_refuses_a_database_url(url: str, sentence: str) -> None:
    with pytest.raises(SettingError, match=f"^{sentence}"):
        database_config(url)


def test_it_hands_tls_parameters_to_libpq() -> None:
    config = database_config("postgresql://ada:s%2Fecret@db:5433/odata?sslmode=verify-full&sslrootcert=system")

    assert (config["USER"], config["PASSWORD"], config["HOST"], config["PORT"]) == ("ada", "s/ecret", "db", 5433)
    assert config["OPTIONS"] == {"sslmode": "verify-full", "sslrootcert": "system"}


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("http://queue:6379/0", "REDIS_URL must start with redis://"),
        ("redis://queue:port/0", "REDIS_URL is not a URL that can be read"),
        ("rediss://queue/0?ssl_ca_certs=/no/ca.pem", "REDIS_URL has ssl_ca_certs=/no/ca.pem, and there is no"),
        ("rediss://queue/0?ssl_cert_reqs=maybe", "REDIS_URL has ssl_cert_reqs=maybe: it must be required, optional"),
    ],
)
def test_it_refuses_a_redis_url(url: str, sentence: str) -> None:
    with pytest.raises(SettingError, match=f"^{sentence}"):
        redis_address("REDIS_URL", url)


def test_it_never_shows_a_password() -> None:
    with pytest.raises(SettingError) as caught:
        redis_address("REDIS_URL", "http://:hunter2@queue/0")

    assert "hunter2" not in str(caught.value)


def test_certificates_are_verified_unless_the_url_says_otherwise() -> None:
    assert redis_address("REDIS_URL", "rediss://queue/0") == "rediss://queue/0?ssl_cert_reqs=required"
    assert redis_address("REDIS_URL", "rediss://queue/0?ssl_cert_reqs=none").endswith("ssl_cert_reqs=none")
    assert redis_address("REDIS_URL", "redis://queue/0") == "redis://queue/0"


@dataclass(frozen=True)
class TlsServer:
    port: int
    certificate: Path

    def url(self, scheme: str = "rediss") -> str:
        return f"{scheme}://localhost:{self.port}/0"


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsServer]:
    """TLS in front of the tests' own Valkey, with a certificate that no authority knows."""
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = make_certificate(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, args=(server, context), daemon=True).start()
        yield TlsServer(server.getsockname()[1], certificate)
        server.shutdown(socket.SHUT_RDWR)


def make_certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(1)).not_valid_after(now + datetime.timedelta(1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    certificate_file, key_file = folder / "certificate.pem", folder / "key.pem"
    certificate_file.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    key_file.write_bytes(private)
    return certificate_file, key_file


def serve(server: socket.socket, context: ssl.SSLContext) -> None:
    while True:
        try:
            plain, _ = server.accept()
        except OSError:
            return
        threading.Thread(target=relay, args=(plain, context), daemon=True).start()


def relay(plain: socket.socket, context: ssl.SSLContext) -> None:
    """Pass bytes between a TLS client and Valkey until one of them ends."""
    with plain, connect_to_valkey() as valkey:
        try:
            with context.wrap_socket(plain, server_side=True) as client:
                upward = threading.Thread(target=pump, args=(valkey, client), daemon=True)
                upward.start()
                pump(client, valkey)
                upward.join()
        except OSError:  # a client that does not trust us hangs up
            return


def pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


def connect_to_valkey() -> socket.socket:
    parts = urlsplit(settings.REDIS_URL)
    if parts.scheme == "unix":
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(parts.path)
        return connection
    return socket.create_connection((parts.hostname or "localhost", parts.port or 6379))


def test_the_queue_speaks_tls(tls: TlsServer) -> None:
    url = redis_address("REDIS_URL", f"{tls.url()}?ssl_ca_certs={tls.certificate}")

    with kombu.Connection(broker_address(url), transport_options={"max_retries": 1}) as connection:
        queue = connection.SimpleQueue("odata-test-tls")
        queue.put({"hello": 1})
        message = queue.get(timeout=5)
        message.ack()
        queue.close()

    assert message.payload == {"hello": 1}


def test_the_queue_refuses_a_certificate_it_can_not_verify(tls: TlsServer) -> None:
    url = redis_address("REDIS_URL", tls.url())

    with kombu.Connection(broker_address(url)) as connection, pytest.raises(OperationalError, match="CERTIFICATE"):
        connection.ensure_connection(max_retries=1, interval_start=0)


def test_the_channel_layer_speaks_tls(tls: TlsServer) -> None:
    url = redis_address("REDIS_URL", f"{tls.url()}?ssl_ca_certs={tls.certificate}")

    async def send_and_receive() -> dict[str, str]:
        layer = RedisChannelLayer(hosts=[{"address": url}], prefix="odata:test-tls")
        await layer.send("test-channel", {"type": "hello"})
        received: dict[str, str] = await layer.receive("test-channel")
        await layer.close_pools()
        return received

    assert async_to_sync(send_and_receive)() == {"type": "hello"}
