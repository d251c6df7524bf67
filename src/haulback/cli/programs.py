"""`haulback up`: server, node and a destination on this machine."""

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
from haulback.cli.log_start import start_log
from haulback.cli.repository_location import open_location
from haulback.cli.server_options import USUAL, ServerOptions
from haulback.cli.server_program import announce
from haulback.contract.destinations import NewDestination
from haulback.contract.nodes import Enrolled
from haulback.errors import Conflict
from haulback.ids import new_guid
from haulback.logs import LogFormat
from haulback.node.state_dir import NodeIdentity, write_identity
from haulback.repository.config import is_repository
from haulback.server.main import Server, ServerSettings
from haulback.server.services import destinations, nodes
from haulback.work.support.foreign_repository import strangers


def up(
    *,
    restore_root: Annotated[
        list[Path],
        Parameter(
            help="Folder below which files may be restored, by default `restores` in --data."
        ),
    ] = [],  # noqa: B006 - read only
    how: ServerOptions = USUAL,
) -> None:
    """The command `haulback up`."""
    start_log(how.log_format)
    settings = how.settings()
    server = Server(settings)
    folder, home = how.data.absolute(), how.data / "node"
    _enrol_embedded(server, home)
    _first_destination(server, folder / "repository")
    node = _node_command(server.url, home, settings, how.log_format)
    for root in restore_root or [folder / "restores"]:
        node += ["--restore-root", str(root)]
    keeper = _Keeper(node)
    keeper.start()
    announce(server, how.data)
    try:
        server.run(stop_first=keeper.stop)
    finally:
        keeper.stop()


def _node_command(
    url: str, home: Path, settings: ServerSettings, log_format: LogFormat
) -> list[str]:
    """The command line of the embedded node."""
    command = [sys.executable, "-m", "haulback", "node", "--leash"]
    command += ["--server", url, "--data", str(home), "--log-format", log_format]
    command += ["--trust", str(settings.tls_cert)] if settings.tls_cert else []
    return command + (["--insecure-http"] if settings.insecure_http else [])


class _Keeper(Thread):
    """Supervisor that restarts the embedded node, which is a separate process."""

    def __init__(self, command: list[str]) -> None:
        super().__init__(name="keeper", daemon=True)
        self._stop_now = Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._command = command

    def run(self) -> None:
        while not self._stop_now.is_set():
            with subprocess.Popen(
                self._command, stdin=subprocess.PIPE, env=credentials.for_children()
            ) as self._process:
                code = self._process.wait()
            if not self._stop_now.wait(1.0):
                logging.warning("the node ended with %d; starting it again", code)

    def stop(self) -> None:
        """Stop the node, and wait for its end up to 10 seconds; a second call does nothing."""
        if self._stop_now.is_set():
            return
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
    who = Enrolled(identity["guid"], identity["secret"])
    # A restored database knows the embedded node of the lost machine by the first name.
    for name in ("local", *(f"local-{number}" for number in range(2, 100))):
        with contextlib.suppress(Conflict):
            nodes.admit(server.app, who, name)
            return
    raise Conflict("the names of the embedded node are taken; remove nodes that no longer exist")


def _first_destination(server: Server, folder: Path) -> None:
    if not destinations.all_destinations(server.app):
        folder.mkdir(parents=True, exist_ok=True)
        wanted = NewDestination(name="local", path=str(folder))
        made, _ = destinations.add_destination(server.app, wanted)
        if not is_repository(open_location(folder)):
            return
        if destinations.has_kept_key(server.app, made.guid):
            logging.warning(
                "the destination 'local' was given up and is added again; its backups return by: "
                "haulback destination sync local"
            )
        else:
            logging.warning("the destination 'local' cannot be used: %s", strangers(str(folder)))
