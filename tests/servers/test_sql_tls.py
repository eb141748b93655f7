"""TLS to the database. The throw-away server has none, so a small proxy ends it in front, as a load balancer would."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from envtui.core.environment import SqlTarget
from envtui.core.errors import Unreachable, Unsound
from envtui.outside.sql.connect import Connector
from envtui.outside.sql.session import SqlReader
from tests.servers.postgres import Database, FakeSecrets, cluster, database, environment, read_act, serving

__all__ = ["cluster", "database"]  # fixtures
pytestmark = pytest.mark.servers
SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"


def certificate(folder: Path, name: str) -> Path:
    """A self-signed certificate for `name`, and its key beside it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / f"{name}.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


class Front:
    """Answers PostgreSQL's SSLRequest, speaks TLS to the client and plain text to the server."""

    def __init__(self, database: Database, pem: Path) -> None:
        self._port = database.cluster.port
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(pem, pem.with_suffix(".key"))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readexactly(8) == SSL_REQUEST
        writer.write(b"S")
        await writer.drain()
        try:
            await writer.start_tls(self._context)
        except (ssl.SSLError, ConnectionError):
            return
        inner, outer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            await asyncio.wait(
                [asyncio.create_task(_copy(reader, outer)), asyncio.create_task(_copy(inner, writer))],
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            outer.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except (ConnectionError, ssl.SSLError):
        pass


class Tunnel:
    def __init__(self, port: int) -> None:
        self._port = port

    async def forward(self, via: str, host: str, port: int) -> tuple[str, int]:
        return "127.0.0.1", self._port


async def shown(database: Database, port: int, tree: Path, **target: object) -> str:
    """What is shown by db1.internal, reached through a tunnel to `port`: the name in the certificate is the host's own."""
    connector = Connector(environment(database, **target), tree.joinpath, FakeSecrets(), Tunnel(port), seconds=5)  # type: ignore[arg-type]
    reader = SqlReader(connector)
    try:
        return (await reader.open(read_act(database, "select 1", via="bastion", address="db1.internal:5432"))).shown
    finally:
        await reader.close()


async def test_a_verified_server_an_unknown_one_and_one_by_another_name(database: Database, tmp_path: Path) -> None:
    right, other = certificate(tmp_path, "db1.internal"), certificate(tmp_path, "db2.internal")
    async with serving(Front(database, right).serve) as port:
        assert "staging" in await shown(database, port, tmp_path, tls="verify-full", ca=right.name)
        assert "staging" in await shown(database, port, tmp_path, tls="require")
        with pytest.raises(Unreachable, match="TLS"):
            await shown(database, port, tmp_path, tls="verify-full", ca=other.name)
        with pytest.raises(Unreachable, match="TLS"):
            await shown(database, port, tmp_path, tls="verify-full")  # the system's CAs do not know it
    async with serving(Front(database, other).serve) as port:
        with pytest.raises(Unreachable, match="TLS"):
            await shown(database, port, tmp_path, tls="verify-full", ca=other.name)
        assert "staging" in await shown(database, port, tmp_path, tls="verify-ca", ca=other.name)


async def test_a_server_without_tls_is_refused_unless_the_manifest_says_so(database: Database, tmp_path: Path) -> None:
    assert SqlTarget(read="r", hosts=("db1",), dbname="d").tls == "verify-full"
    for level in ("require", "verify-full"):
        with pytest.raises(Unreachable, match="TLS"):
            await shown(database, database.cluster.port, tmp_path, tls=level)
    with pytest.raises(Unsound, match="no `ca`"):
        await shown(database, database.cluster.port, tmp_path, tls="verify-ca")
