"""`haulback up` and `server`: long-running processes."""

from __future__ import annotations

import contextlib
import json
import logging
import secrets
import subprocess
import sys
from pathlib import Path
from threading import Event, Thread
from typing import Annotated

from cyclopts import Parameter

from haulback import credentials
from haulback.cli.connection import InsecureHttp, PasswordFile
from haulback.cli.nodes import start_log
from haulback.contract.destinations import NewDestination
from haulback.contract.nodes import Enrolled
from haulback.destinations.folder import Folder
from haulback.errors import Malformed
from haulback.ids import new_guid
from haulback.logs import LogFormat
from haulback.node.state_dir import NodeIdentity, write_identity
from haulback.repository.config import is_repository
from haulback.server.main import Server, ServerSettings
from haulback.server.services import destinations, nodes
from haulback.server.services.app import LEASE_MS
from haulback.work.support.foreign_repository import strangers

Limit = Annotated[
    list[str], Parameter(help="Limit of simultaneous tasks, like export=3 or export.source=2.")
]
Origin = Annotated[
    list[str], Parameter(help="Origin whose pages may call the API, like https://portal.example.")
]
Proxy = Annotated[
    list[str],
    Parameter(
        help="Address or network of a proxy that is trusted to name client addresses.",
        env_var="HAULBACK_PROXY",
    ),
]


def up(
    *,
    data: Path = Path("haulback-data"),
    host: str = "127.0.0.1",
    port: int = 8181,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    lease: float = LEASE_MS / 1000,
    limit: Limit = [],  # noqa: B006 - read only
    origin: Origin = [],  # noqa: B006
    proxy: Proxy = [],  # noqa: B006
    restore_root: list[Path] = [],  # noqa: B006
    password_file: PasswordFile = None,
    insecure_http: InsecureHttp = False,
    log_format: LogFormat = LogFormat.TEXT,
) -> None:
    """Run everything on this machine: server, node and a destination in --data.

    The first user is admin; the password comes from --password-file, from HAULBACK_ADMIN_PASSWORD,
    or is generated and printed once.  --lease is the number of seconds after which a silent node
    loses its tasks.
    """
    start_log(log_format)
    settings = _settings(data, "", host, port, tls_cert, tls_key, lease, limit, origin, proxy)
    _trust(settings, password_file, insecure_http)
    server = Server(settings)
    home = data / "node"
    roots = restore_root or [data.absolute() / "restores"]
    _enrol_embedded(server, home)
    _first_destination(server, data.absolute() / "repository")
    keeper = _Keeper(server, home, roots, settings, log_format)
    keeper.start()
    _announce(server)
    try:
        server.run()
    finally:
        keeper.stop()


def server(
    *,
    data: Path = Path("haulback-data"),
    database: Annotated[str, Parameter(env_var="HAULBACK_DATABASE")] = "",
    host: str = "127.0.0.1",
    port: int = 8181,
    tls_cert: Path | None = None,
    tls_key: Path | None = None,
    lease: float = LEASE_MS / 1000,
    limit: Limit = [],  # noqa: B006
    origin: Origin = [],  # noqa: B006
    proxy: Proxy = [],  # noqa: B006
    password_file: PasswordFile = None,
    insecure_http: InsecureHttp = False,
    log_format: LogFormat = LogFormat.TEXT,
) -> None:
    """Run the server alone.  --database is sqlite:///file.db or postgresql://user@host/name."""
    start_log(log_format)
    credentials.check_url(database, "--database", sys.argv[1:])
    settings = _settings(data, database, host, port, tls_cert, tls_key, lease, limit, origin, proxy)
    _trust(settings, password_file, insecure_http)
    made = Server(settings)
    _announce(made)
    made.run()


class _Keeper(Thread):
    """Supervisor that restarts the embedded node, a process of its own."""

    def __init__(
        self,
        server: Server,
        home: Path,
        roots: list[Path],
        settings: ServerSettings,
        log_format: LogFormat,
    ) -> None:
        super().__init__(name="keeper", daemon=True)
        self._stop_now = Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._command = [sys.executable, "-m", "haulback", "node", "--leash"]
        self._command += ["--server", server.url, "--data", str(home)]
        self._command += ["--log-format", log_format]
        for root in roots:
            self._command += ["--restore-root", str(root)]
        if settings.tls_cert:
            self._command += ["--trust", str(settings.tls_cert)]
        if settings.insecure_http:
            self._command += ["--insecure-http"]

    def run(self) -> None:
        while not self._stop_now.is_set():
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, env=credentials.for_children()
            )
            code = self._process.wait()
            if not self._stop_now.wait(1.0):
                logging.warning("the node ended with %d; starting it again", code)

    def stop(self) -> None:
        self._stop_now.set()
        if self._process and self._process.stdin:
            self._process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(10)


def _enrol_embedded(server: Server, home: Path) -> None:
    """Enrol the embedded node; its identity is written before the server admits it, so that a crash
    in between needs no undo.
    """
    file = home / "identity.json"
    if not file.exists():
        write_identity(home, NodeIdentity(new_guid(), secrets.token_urlsafe(32)))
    identity = json.loads(file.read_bytes())
    nodes.admit(server.app, Enrolled(identity["guid"], identity["secret"]), "local")


def _first_destination(server: Server, folder: Path) -> None:
    if not destinations.all_destinations(server.app):
        folder.mkdir(parents=True, exist_ok=True)
        if is_repository(Folder(folder)):
            logging.warning("the destination 'local' cannot be used: %s", strangers(str(folder)))
        destinations.add_destination(server.app, NewDestination(name="local", path=str(folder)))


def _settings(
    data: Path,
    database: str,
    host: str,
    port: int,
    tls_cert: Path | None,
    tls_key: Path | None,
    lease: float,
    limit: list[str],
    origin: list[str],
    proxy: list[str],
) -> ServerSettings:
    if not 0.2 <= lease <= 3600:
        raise Malformed("--lease must be between 0.2 and 3600 seconds")
    return ServerSettings(
        data=data,
        database=database,
        host=host,
        port=port,
        tls_cert=tls_cert,
        tls_key=tls_key,
        lease_ms=int(lease * 1000),
        limits=dict(map(_limit, limit)),
        origins=origin,
        proxies=proxy,
    )


def _trust(settings: ServerSettings, password_file: Path | None, insecure_http: bool) -> None:
    """Set the password of admin and the permission for plain HTTP in the settings."""
    settings.password = (
        credentials.read(password_file, "--password-file")
        if password_file
        else credentials.get("HAULBACK_ADMIN_PASSWORD")
    )
    settings.insecure_http = insecure_http


def _limit(text: str) -> tuple[str, int]:
    from haulback.tasks.scheduling import LANES, is_limit

    name, _, count = text.partition("=")
    if not is_limit(name) or not count.isdigit() or int(count) < 1:
        raise Malformed(f"--limit {text}: write LANE=COUNT with one of {', '.join(LANES)}")
    return name, int(count)


def _announce(server: Server) -> None:
    """Print the URL, and a new password, for people and for programs that wait for the server."""
    print(f"Haulback listens at {server.url}", flush=True)
    if server.password:
        print(f"log in as admin with the password {server.password}", flush=True)
