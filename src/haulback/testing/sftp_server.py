"""A real SFTP server for tests: OpenSSH's sshd as a process with its own port and keys."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

from haulback.errors import Unavailable, Unsupported
from haulback.testing.server_start import is_listening

_START_SECONDS = 30.0
_CONFIG = """Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/key.pub
PidFile none
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
PasswordAuthentication no
MaxStartups 100
Subsystem sftp {subsystem}
"""


class SftpServer:
    """An SSH server on the loopback address that runs as the user of this process.

    `subsystem` is the command line of the SFTP service.  The files survive `kill` and `start`.
    """

    def __init__(self, folder: Path, subsystem: str = "internal-sftp") -> None:
        self.folder, self.subsystem = folder, subsystem
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.root = folder / "data"
        self.root.mkdir()
        self._process: subprocess.Popen[bytes] | None = None
        for name in ("host", "key", "other"):
            make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
            subprocess.run(make, check=True)

    def start(self) -> None:
        """Start the server and wait until it answers.  Raises Unavailable, Unsupported."""
        program = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
        if program is None:
            raise Unsupported("there is no sshd; install openssh-server")
        config = self.folder / "sshd_config"
        config.write_text(
            _CONFIG.format(port=self.port, folder=self.folder, subsystem=self.subsystem)
        )
        Path("/run/sshd").mkdir(exist_ok=True)
        with open(self.folder / "sshd.log", "ab") as log:
            command = [program, "-D", "-e", "-f", str(config)]
            self._process = subprocess.Popen(command, stderr=log, start_new_session=True)
        if not is_listening(self.port, self._process, _START_SECONDS):
            said = (self.folder / "sshd.log").read_text()[-500:]
            raise Unavailable(f"sshd does not start: {said}")

    def kill(self) -> None:
        """Kill the server with all its connections."""
        if self._process is None:
            return
        for child in children(self._process.pid):
            _kill(child)
        self._process.kill()
        self._process.wait()
        self._process = None

    def settings(self, path: str, **more: Any) -> dict[str, Any]:
        """Settings of a destination in a new folder of the server, in the form of a request."""
        (self.root / path).mkdir(parents=True, exist_ok=True)
        return {
            "host": "127.0.0.1",
            "port": self.port,
            "user": getpass.getuser(),
            "path": str(self.root / path),
            "knownHosts": self.host_key,
            "key": (self.folder / "key").read_text(),
            **more,
        }

    @property
    def host_key(self) -> str:
        """The line of known_hosts with the server's key."""
        kind, key = (self.folder / "host.pub").read_text().split()[:2]
        return f"[127.0.0.1]:{self.port} {kind} {key}"


def children(parent: int) -> list[int]:
    """The processes of a server and of its connections, the youngest first."""
    result = []
    # A connection may end while its processes are listed.
    with suppress(FileNotFoundError, ProcessLookupError):
        for path in Path(f"/proc/{parent}/task").glob("*/children"):
            for word in path.read_text().split():
                result += [*children(int(word)), int(word)]
    return result


def _kill(process: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)
