"""Options that `haulback up` and `haulback server` share."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, time
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cyclopts import Parameter

from haulback import credentials
from haulback.cli.arguments import LogForm
from haulback.cli.connection import InsecureHttp, PasswordFile
from haulback.errors import Malformed
from haulback.logs import LogFormat
from haulback.server.main import ServerSettings
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
NotifyNetwork = Annotated[
    list[str],
    Parameter(
        help="Network of this machine that webhooks and monitors may reach, like 127.0.0.0/8.",
        env_var="HAULBACK_NOTIFY_NETWORK",
    ),
]


Zone = Annotated[
    str,
    Parameter(help="Time zone of reports, like Europe/Berlin.", env_var="HAULBACK_TIME_ZONE"),
]
ReportAt = Annotated[
    str,
    Parameter(help="Local time of daily reports, like 07:00.", env_var="HAULBACK_REPORT_AT"),
]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """Address, certificate, limits, origins, first password and log of a server."""

    data: Annotated[Path, Parameter(help="Folder of the server's own data.")] = Path(
        "haulback-data"
    )
    host: Annotated[str, Parameter(help="Address to listen at.")] = "127.0.0.1"
    port: Annotated[int, Parameter(help="Port to listen at; 0 takes any free port.")] = 8181
    tls_cert: Annotated[Path | None, Parameter(help="File of the TLS certificate (PEM).")] = None
    tls_key: Annotated[Path | None, Parameter(help="File of the certificate's key (PEM).")] = None
    lease: Annotated[
        float, Parameter(help="Seconds after which a silent node loses its tasks.")
    ] = LEASE_MS / 1000
    limit: Limit = field(default_factory=list)
    origin: Origin = field(default_factory=list)
    proxy: Proxy = field(default_factory=list)
    notify_network: NotifyNetwork = field(default_factory=list)
    time_zone: Zone = "UTC"
    report_at: ReportAt = "07:00"
    password_file: PasswordFile = None
    insecure_http: InsecureHttp = False
    log_format: LogForm = LogFormat.TEXT

    def settings(self, database: str = "") -> ServerSettings:
        """Settings of the server; without `database` its file is in `data`.  Raises Malformed."""
        if not 0.2 <= self.lease <= 3600:
            raise Malformed("--lease must be between 0.2 and 3600 seconds")
        if not 0 <= self.port <= _LAST_PORT:
            raise Malformed(
                f"--port {self.port}: name a port from 0 (any free port) to {_LAST_PORT}"
            )
        return ServerSettings(
            data=self.data,
            database=database,
            host=self.host,
            port=self.port,
            password=self._password(),
            tls_cert=self.tls_cert,
            tls_key=self.tls_key,
            lease_ms=int(self.lease * 1000),
            limits=dict(map(_limit, self.limit)),
            origins=self.origin,
            proxies=self.proxy,
            insecure_http=self.insecure_http,
            notify_networks=list(map(_network, self.notify_network)),
            time_zone=_zone(self.time_zone),
            report_at=_time_of_day(self.report_at),
        )

    def _password(self) -> str | None:
        if self.password_file:
            return credentials.read(self.password_file, "--password-file")
        return credentials.get("HAULBACK_ADMIN_PASSWORD")


_LAST_PORT = 65535
USUAL = ServerOptions()


def _limit(text: str) -> tuple[str, int]:
    name, _, count = text.partition("=")
    if not is_limit(name) or not count.isdigit() or int(count) < 1:
        raise Malformed(f"--limit {text}: write LANE=COUNT with one of {', '.join(LANES)}")
    return name, int(count)


def _network(text: str) -> str:
    try:
        return str(ip_network(text, strict=False))
    except ValueError:
        raise Malformed(
            f"--notify-network {text}: write a network like 127.0.0.0/8, or an address"
        ) from None


def _zone(name: str) -> str:
    try:
        return ZoneInfo(name).key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise Malformed(f"--time-zone {name}: name an IANA zone, like Europe/Berlin") from None


def _time_of_day(text: str) -> time:
    try:
        return datetime.strptime(text, "%H:%M").time()
    except ValueError:
        raise Malformed(f"--report-at {text}: write hours and minutes, like 07:00") from None
