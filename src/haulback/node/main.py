"""Node process: enrolment at the first start, then the main loop."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from threading import Thread

import msgspec

from haulback.client.api import Api
from haulback.mounts.supervisor import PORTAL
from haulback.node.runner import Runner
from haulback.node.server_client import PROTOCOL, ServerClient
from haulback.node.state_dir import NodeIdentity, StateDir, write_identity
from haulback.work.registry import WORK

_STDIN = 0


class NodeSettings(msgspec.Struct, kw_only=True):
    """Settings of a node process.

    `token` enrols the node at its first start; `trust` is the file of the server's certificate;
    `portal` is the iSCSI listen address, ADDRESS:PORT, used while an iSCSI mount exists; with
    `leash` the node ends when standard input ends.
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


def run(settings: NodeSettings) -> None:
    """Run the node until SIGTERM or SIGINT; with `leash` also until standard input ends.

    Raises Conflict, Unauthenticated, Fenced or NotFound when the node cannot run.
    """
    api = Api(settings.server, trust=settings.trust, insecure_http=settings.insecure_http)
    home = StateDir(settings.data, settings.roots, portal=settings.portal)
    link = ServerClient(api, home)
    try:
        if settings.token and not (settings.data / "identity.json").exists():
            body = {"token": settings.token, "name": settings.name, "protocol": PROTOCOL}
            write_identity(
                settings.data, msgspec.convert(api.post("/nodes/enrol", body), NodeIdentity)
            )
        runner = Runner(link, home, WORK)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: runner.stop())
        if settings.leash:
            Thread(target=_follow, args=(runner,), daemon=True).start()
        runner.run()
    finally:
        link.close()
        home.close()


def _follow(runner: Runner) -> None:
    """End this process when standard input ends, whose other end the server holds.

    Read without Python's buffer, whose lock a thread that reads for ever would hold at the end of
    the interpreter: Python would then abort the process.
    """
    with suppress(OSError):
        while os.read(_STDIN, 4096):
            pass
    runner.stop()
