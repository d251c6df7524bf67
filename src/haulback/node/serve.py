"""The node as a process: enrolled once, working until told to stop."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from threading import Thread

import msgspec

from haulback.client.api import Api
from haulback.kinds.table import KINDS
from haulback.node.home import Home, Identity, write_identity
from haulback.node.link import PROTOCOL, Link
from haulback.node.runner import Runner
from haulback.shares.keeper import PORTAL

_STDIN = 0


class Settings(msgspec.Struct, kw_only=True):
    """How a node runs.

    `token` enrols it the first time; `trust` is the server's certificate; `portal` is where it
    listens while something is shared by iSCSI.
    """

    data: Path
    server: str
    name: str = ""
    token: str | None = None
    roots: list[Path] = []
    trust: str | None = None
    insecure_http: bool = False
    portal: str = PORTAL
    leash: bool = False


def run(settings: Settings) -> None:
    """Work until SIGTERM or SIGINT; on a `leash` also until standard input ends.

    Raises Conflict, Unauthenticated, Fenced or NotFound with the reason it cannot go on.
    """
    api = Api(settings.server, trust=settings.trust, insecure_http=settings.insecure_http)
    home = Home(settings.data, settings.roots, portal=settings.portal)
    link = Link(api, home)
    try:
        if settings.token and not (settings.data / "identity.json").exists():
            body = {"token": settings.token, "name": settings.name, "protocol": PROTOCOL}
            write_identity(settings.data, msgspec.convert(api.post("/nodes/enrol", body), Identity))
        runner = Runner(link, home, KINDS)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: runner.stop())
        if settings.leash:
            Thread(target=_follow, args=(runner,), daemon=True).start()
        runner.run()
    finally:
        link.close()
        home.close()


def _follow(runner: Runner) -> None:
    """Our server holds the other end of standard input: when it dies, we end.

    Read past Python's buffer, whose lock a thread that reads for ever would hold while the
    interpreter ends: Python then aborts the process.
    """
    with suppress(OSError):
        while os.read(_STDIN, 4096):
            pass
    runner.stop()
