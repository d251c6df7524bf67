"""`haulback server`: the server alone, which loads nothing of a node."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from haulback import credentials
from haulback.cli.connection import InsecureHttp, PasswordFile
from haulback.cli.nodes import start_log
from haulback.errors import Malformed
from haulback.logs import LogFormat
from haulback.server.main import Server, ServerSettings
from haulback.server.services.app import LEASE_MS
from haulback.tasks.scheduling import LANES, is_limit

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
    settings = server_settings(
        data, database, host, port, tls_cert, tls_key, lease, limit, origin, proxy
    )
    set_credentials(settings, password_file, insecure_http)
    made = Server(settings)
    announce(made)
    made.run()


def server_settings(
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
    """Settings of a server process from the options of a command.  Raises Malformed."""
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


def set_credentials(
    settings: ServerSettings, password_file: Path | None, insecure_http: bool
) -> None:
    """Set the password of admin and the permission for plain HTTP in the settings."""
    settings.password = (
        credentials.read(password_file, "--password-file")
        if password_file
        else credentials.get("HAULBACK_ADMIN_PASSWORD")
    )
    settings.insecure_http = insecure_http


def _limit(text: str) -> tuple[str, int]:
    name, _, count = text.partition("=")
    if not is_limit(name) or not count.isdigit() or int(count) < 1:
        raise Malformed(f"--limit {text}: write LANE=COUNT with one of {', '.join(LANES)}")
    return name, int(count)


def announce(server: Server) -> None:
    """Print the URL, and a new password, for people and for programs that wait for the server."""
    print(f"Haulback listens at {server.url}", flush=True)
    if server.password:
        print(f"log in as admin with the password {server.password}", flush=True)
