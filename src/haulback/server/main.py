"""The server process: open the database, listen, run until a signal."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import secrets
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import time
from pathlib import Path

import msgspec
import uvicorn

import haulback
from haulback.errors import Conflict, Malformed, Unavailable
from haulback.kinds.registry import KINDS
from haulback.logs import members
from haulback.loopback import is_loopback
from haulback.server.http import trusted_proxies
from haulback.server.http.connection import HEAD_SECONDS, KEEP_ALIVE_SECONDS, Connection, Halves
from haulback.server.http.routes import site
from haulback.server.services import host_addresses, maintenance
from haulback.server.services.app import LEASE_MS, App
from haulback.server.services.cluster_notify import ClusterNotifier
from haulback.server.services.delivery_dispatcher import DeliveryDispatcher
from haulback.server.services.own_key import open_vault
from haulback.server.store import accounts
from haulback.server.store.engine import open_store, sqlite_url

log = logging.getLogger(__name__)


class ServerSettings(msgspec.Struct, kw_only=True):
    """Settings of a server process.  An empty `database` means SQLite in the folder `data`."""

    data: Path
    database: str = ""
    host: str = "127.0.0.1"
    port: int = 8181
    tls_cert: Path | None = None
    tls_key: Path | None = None
    insecure_http: bool = False
    password: str | None = None
    origins: list[str] = []
    proxies: list[str] = []  # addresses or networks of proxies that report the client's address
    lease_ms: int = LEASE_MS
    limits: Mapping[str, int] = {}
    notify_networks: list[str] = []  # networks of this machine that webhooks may reach
    time_zone: str = "UTC"  # IANA zone of reports
    report_at: time = time(7)  # local time of daily reports


_OTHER = "name an address of this machine by --host, and a free port by --port"
_REMEDIES = {
    errno.EADDRINUSE: "another program listens there, perhaps another Haulback; stop it, or choose "
    "another --port",
    errno.EACCES: "ports below 1024 are for root; choose another --port",
    errno.EADDRNOTAVAIL: "this machine has no such address; choose another --host",
}
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class _Uvicorn(uvicorn.Server):
    """A server that ends long polls before it waits for open requests.

    `stop_first` runs before that, while the server still answers.
    """

    def __init__(self, config: uvicorn.Config, app: App) -> None:
        super().__init__(config)
        self._app = app
        self.stop_first: Callable[[], None] | None = None

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The original method, without raising a handled signal again at the end."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """The original method with a time limit for the TLS handshake."""
        await self.lifespan.startup()
        loop, tls = asyncio.get_running_loop(), self.config.ssl
        halves: Halves = {}

        def connection() -> Connection:
            return Connection(self, loop, halves)

        self.servers = [
            await loop.create_server(
                connection,
                sock=item,
                ssl=tls,
                ssl_handshake_timeout=HEAD_SECONDS if tls else None,
                backlog=self.config.backlog,
            )
            for item in sockets or []
        ]
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self.stop_first:
            await asyncio.to_thread(self.stop_first)
        self._app.wakeups.end()
        self._app.event_hub.end()
        await super().shutdown(sockets)


class Server:
    """A listening server: `admit` creates the first user, then `run` answers requests."""

    def __init__(self, settings: ServerSettings) -> None:
        _check_reach(settings)
        _check_certificate(settings)
        trusted_proxies.check(settings.proxies)
        settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        url = settings.database or sqlite_url(settings.data)
        store = open_store(url, apart=threading.active_count() == 1)
        try:
            vault = open_vault(settings.data / "server.key", store)
            self.app = App(store, KINDS, vault, lease_ms=settings.lease_ms, limits=settings.limits)
            self.app.time_zone, self.app.report_at = settings.time_zone, settings.report_at
            self.app.notify_networks = host_addresses.networks(settings.notify_networks)
            self.app.certificate = str(settings.tls_cert or "")
            self._socket = _listen(settings.host, settings.port)
        except BaseException:
            store.close()
            raise
        scheme = "https" if settings.tls_cert else "http"
        host, port = self._socket.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        self.url = f"{scheme}://{shown}:{port}"
        self._wanted, self._is_admitted = settings.password, False
        self._uvicorn = _Uvicorn(_config(self.app, settings), self.app)
        self._herald = ClusterNotifier(self.app)
        self._dispatcher = DeliveryDispatcher(self.app)
        self._upkeep = maintenance.Maintenance(self.app, min(1.0, settings.lease_ms / 5000))

    def admit(self) -> str | None:
        """Create the first user; returns a generated password, which is shown once.

        This step comes last before `run`: a password is useless if the server cannot start.
        """
        self._is_admitted = True
        return admit_admin(self.app, self._wanted)

    def run(self, *, stop_first: Callable[[], None] | None = None) -> None:
        """Answer requests until `stop`, SIGTERM or SIGINT.

        `stop_first` stops clients in this process or its children, while the server still answers.
        """
        self._uvicorn.stop_first = stop_first
        if not self._is_admitted:
            self.admit()
        log.info("server listens", extra=members(url=self.url, version=haulback.__version__))
        maintenance.start(self.app)
        self._upkeep.start()
        self._herald.start()
        self.app.event_hub.start()
        self._dispatcher.start()
        gc.collect()
        # Loaded modules stay in memory, so that the garbage collector need not scan them again.
        gc.freeze()
        try:
            self._uvicorn.run(sockets=[self._socket])
        finally:
            self._upkeep.stop()
            self._herald.stop()
            self._dispatcher.stop()
            self.app.event_hub.stop()
            self._socket.close()
            self.app.store.close()
            log.info("server stopped")

    def stop(self) -> None:
        self._uvicorn.should_exit = True


def _config(app: App, settings: ServerSettings) -> uvicorn.Config:
    return uvicorn.Config(
        trusted_proxies.behind(site(app, settings.origins), settings.proxies),
        ws="none",
        proxy_headers=False,  # uvicorn trusts no proxy, not even of this machine: `proxies` decides
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        log_level=logging.WARNING,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
    )


def _check_reach(settings: ServerSettings) -> None:
    if bool(settings.tls_cert) != bool(settings.tls_key):
        raise Malformed("--tls-cert and --tls-key belong together")
    if is_loopback(settings.host) or settings.tls_cert or settings.insecure_http:
        return
    raise Malformed(
        f"--host {settings.host} can be reached from outside: name --tls-cert and --tls-key, "
        "stay on 127.0.0.1 behind a proxy that speaks TLS, or allow plain HTTP by --insecure-http"
    )


def _check_certificate(settings: ServerSettings) -> None:
    """Raises Malformed for a certificate or key that TLS cannot use, before anything is changed."""
    if not settings.tls_cert or not settings.tls_key:
        return
    for option, path in (("--tls-cert", settings.tls_cert), ("--tls-key", settings.tls_key)):
        try:
            path.read_bytes()
        except OSError as error:
            raise Malformed(f"{option}: {path} cannot be read: {error.strerror}") from None
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(settings.tls_cert, settings.tls_key, password="")
    except (ssl.SSLError, ValueError) as error:
        raise Malformed(
            f"--tls-cert {settings.tls_cert} and --tls-key {settings.tls_key} cannot be used: they "
            f"must be a certificate and its own key in PEM, without a passphrase ({error})"
        ) from None


def admit_admin(app: App, password: str | None) -> str | None:
    """Create the first user; returns a generated password, which is shown once."""
    try:
        return _admit_now(app, password)
    except Conflict:
        # Another server on this database started at the same moment and created the user.
        return _admit_now(app, password)


def _admit_now(app: App, password: str | None) -> str | None:
    with app.store.write() as sql:
        if password:
            accounts.set_password(sql, "admin", password)
        elif not accounts.has_accounts(sql):
            made = secrets.token_urlsafe(12)
            accounts.set_password(sql, "admin", made)
            return made
    return None


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol number is given explicitly: otherwise asyncio leaves Nagle's algorithm on, and
    # answers wait 40 ms.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
    except OSError as error:
        made.close()
        why = f"cannot listen on {host}:{port}: {error.strerror}"
        raise Unavailable(f"{why}: {_REMEDIES.get(error.errno or 0, _OTHER)}") from None
    made.listen(128)
    return made
