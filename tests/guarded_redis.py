"""A Redis server as a careful operator runs it: TLS, a password, and users that may do little.

The server speaks TLS itself where it can; the one that comes with the package can't, and stands behind a door of ours
that ends TLS, as many a server of a fleet does.
"""

import asyncio
import socket
import ssl
import subprocess
import threading
import time
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import redis
import trustme

USER = "vidbatch"
PASSWORD = "pass/word: of the @tests?#"
ADMIN = "admin-of-the-tests"
RULES = (
    "~vidbatch:* &vidbatch:* -@all +@read +@write +@connection +@scripting +@transaction +@pubsub "
    "-@dangerous +info +time"
)
"""What SECURITY.md tells an operator to give."""

READY_WITHIN_S = 10.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Certificates:
    """A certificate authority of these tests, a server's certificate and a client's."""

    def __init__(self, folder: Path) -> None:
        authority, other = trustme.CA(), trustme.CA()
        self.ca, self.other_ca = folder / "ca.pem", folder / "other-ca.pem"
        authority.cert_pem.write_to_path(self.ca)
        other.cert_pem.write_to_path(self.other_ca)
        self.server_cert, self.server_key = self._written(authority, "localhost", folder / "server")
        self.client_cert, self.client_key = self._written(authority, "worker.example", folder / "client")

    def _written(self, authority: trustme.CA, name: str, path: Path) -> tuple[Path, Path]:
        issued = authority.issue_cert(name)
        cert, key = path.with_suffix(".pem"), path.with_suffix(".key")
        issued.private_key_pem.write_to_path(key)
        key.chmod(0o600)
        for blob in issued.cert_chain_pems:
            blob.write_to_path(cert, append=True)
        return cert, key


class TlsDoor:
    """Ends TLS in front of a server, in a thread of its own; wants a certificate of clients if told."""

    def __init__(self, certificates: Certificates, port: int, *, asks_clients: bool) -> None:
        self.port = free_port()
        self._to = port
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(certificates.server_cert, certificates.server_key)
        if asks_clients:
            self._context.load_verify_locations(certificates.ca)
            self._context.verify_mode = ssl.CERT_REQUIRED
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        assert self._ready.wait(READY_WITHIN_S)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.set_exception_handler(lambda *_: None)  # whoever breaks off is no news
        serving = asyncio.start_server(self._through, "127.0.0.1", self.port, ssl=self._context)
        server = self._loop.run_until_complete(serving)
        self._ready.set()
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.run_until_complete(asyncio.sleep(0.05))  # what was closed says its farewell
        self._loop.close()

    async def _through(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_connection("127.0.0.1", self._to)
        try:
            await asyncio.gather(_copied(reader, ours), _copied(theirs, writer))
        finally:
            ours.close()
            writer.close()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(READY_WITHIN_S)


async def _copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError, asyncio.CancelledError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


class GuardedRedis:
    """The server, its users and its door."""

    def __init__(self, folder: Path, binary: str, *, asks_clients: bool = True) -> None:
        self.certificates = Certificates(folder)
        self.port = free_port()
        users = folder / "users.acl"
        hashed = {name: _hashed(secret) for name, secret in ((USER, PASSWORD), ("admin", ADMIN))}
        users.write_text(
            f"user default off resetpass ~* &* +@all\nuser {USER} on #{hashed[USER]} {RULES}\n"
            f"user admin on #{hashed['admin']} ~* &* +@all\n"
        )
        own_tls = _speaks_tls(binary)
        command = [binary, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
        command += ["--aclfile", str(users), "--appendonly", "yes", "--logfile", str(folder / "redis.log")]
        if own_tls:
            self.tls_port = free_port()
            command += ["--tls-port", str(self.tls_port), "--tls-auth-clients", "yes" if asks_clients else "no"]
            command += ["--tls-cert-file", str(self.certificates.server_cert)]
            command += ["--tls-key-file", str(self.certificates.server_key)]
            command += ["--tls-ca-cert-file", str(self.certificates.ca)]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self._door: TlsDoor | None = None
        deadline = time.monotonic() + READY_WITHIN_S
        while not self._answers():
            assert time.monotonic() < deadline, (folder / "redis.log").read_text()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(0.02)
        if not own_tls:
            self._door = TlsDoor(self.certificates, self.port, asks_clients=asks_clients)
            self.tls_port = self._door.port
        self.url = f"rediss://localhost:{self.tls_port}/0"
        self.plain_url = f"redis://localhost:{self.port}/0"

    def admin(self) -> redis.Redis:
        """A client that may do everything."""
        return redis.Redis(port=self.port, username="admin", password=ADMIN)

    def _answers(self) -> bool:
        try:
            with self.admin() as client:
                return bool(client.ping())
        except (redis.RedisError, OSError):
            return False

    def close(self) -> None:
        if self._door is not None:
            self._door.close()
        self._process.kill()
        self._process.wait()


def _hashed(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()


def _speaks_tls(binary: str) -> bool:
    """Whether a server was built with TLS. One that was not has no such option; the port is no free one in either."""
    tried = subprocess.run(
        [binary, "--port", "0", "--tls-port", "1", "--tls-cert-file", "/nowhere"],
        capture_output=True,
        text=True,
        timeout=READY_WITHIN_S,
        check=False,
    )
    return "TLS support" not in tried.stdout
