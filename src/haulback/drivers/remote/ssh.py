"""SSH connection to a remote driver, by OpenSSH's client and its configuration."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections import deque
from pathlib import Path
from threading import Thread, Timer
from typing import IO

import haulback
from haulback import credentials
from haulback.drivers.remote.main import GREETING
from haulback.drivers.remote.proxy import RemoteHypervisor
from haulback.drivers.remote.rpc import PeerConnection
from haulback.errors import Unavailable, Unsupported
from haulback.libvirt_url import Address
from haulback.units import KIB

_OPTIONS = {
    "BatchMode": "yes",  # never prompt: a node runs without a terminal
    "ConnectTimeout": "20",
    "ServerAliveInterval": "15",
    "ServerAliveCountMax": "4",
    "ControlPath": "none",
    "ClearAllForwardings": "yes",
    "LogLevel": "ERROR",
}
_FIRST_WORDS = 64 * KIB  # bytes that login scripts may print before the greeting
_NOT_FOUND = 127  # exit code of a shell for an unknown command
_STARTING, _ENDING = 60, 5  # seconds for the greeting, and for the client to exit


def far_libvirt(url: str, storage: Path) -> RemoteHypervisor:
    """Hypervisor at a `qemu+ssh` URL; new images go to `storage`, a folder on that host.

    Raises Malformed for a bad URL.
    """
    address = Address.parse(url)
    return RemoteHypervisor(lambda: _Connection(address, storage).link)


class _Connection:
    """SSH client process and its messages; both end with the connection."""

    def __init__(self, address: Address, storage: Path) -> None:
        self._host = address.host
        try:
            self._client = subprocess.Popen(
                command(address, storage),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=credentials.for_children(),
                bufsize=0,  # a buffer could swallow the first message together with the greeting
            )
        except FileNotFoundError:
            raise Unsupported(
                f"{self._host} needs OpenSSH's client (`apt-get install openssh-client`)"
            ) from None
        assert self._client.stdin
        assert self._client.stdout
        assert self._client.stderr
        self._said: deque[str] = deque(maxlen=20)
        self._hearing = Thread(target=self._hear, args=(self._client.stderr,), daemon=True)
        self._hearing.start()
        with self._client.stdin as going, self._client.stdout as coming:
            self._greet(coming)
            pipes = os.dup(coming.fileno()), os.dup(going.fileno())
        self.link = PeerConnection(*pipes, lambda: self._why("the connection ended"), self._end)
        self.link.start()

    def _greet(self, stream: IO[bytes]) -> None:
        """Wait for the greeting of the remote driver, ignoring the output of login scripts.

        Raises Unavailable without a greeting, Unsupported for another version.
        """
        too_long = Timer(_STARTING, self._client.kill)
        too_long.start()
        try:
            version = _greeting(stream)
            if version is None:
                stream.close()  # ends a remote program that still writes (SIGPIPE)
                self._end()
                raise Unavailable(self._why("cannot be reached by SSH"))
            if version != haulback.__version__:
                raise Unsupported(
                    f"{self._host} has Haulback {version[:40]}, and the node has "
                    f"{haulback.__version__}; install the same version on both"
                )
        except BaseException:
            self._client.kill()
            self._end()
            raise
        finally:
            too_long.cancel()

    def _hear(self, stream: IO[bytes]) -> None:
        with stream:
            for line in stream:
                self._said.append(line[:300].decode(errors="replace").strip())

    def _end(self) -> None:
        """Wait until the client has exited and its messages are read."""
        try:
            self._client.wait(_ENDING)
        except subprocess.TimeoutExpired:
            self._client.kill()
            self._client.wait()
        self._hearing.join()

    def _why(self, what: str) -> str:
        if self._client.poll() == _NOT_FOUND:
            return (
                f"{self._host} has no command haulback; install Haulback there with the extra "
                "libvirt (docs/howto/install.md), or give the path of the command by "
                "haulback=/… in the URL"
            )
        said = "; ".join(line for line in self._said if line)[-500:]
        return f"{self._host}: {what}{': ' if said else ''}{said}"


def _greeting(stream: IO[bytes]) -> str | None:
    """Version in the greeting of the remote driver; None when no greeting came."""
    read = 0
    while read < _FIRST_WORDS and (line := stream.readline(4 * KIB)):
        if line.startswith(GREETING):
            return line.removeprefix(GREETING).decode(errors="replace").strip()
        read += len(line)
    return None


def command(address: Address, storage: Path) -> list[str]:
    """SSH command line that starts the remote driver on the host."""
    options = dict(_OPTIONS)
    if not address.verify:
        options |= {"StrictHostKeyChecking": "no", "UserKnownHostsFile": "/dev/null"}
    elif address.known_hosts:
        options |= {"StrictHostKeyChecking": "yes", "UserKnownHostsFile": address.known_hosts}
    if address.keyfile:
        options |= {"IdentityFile": address.keyfile, "IdentitiesOnly": "yes"}
    if address.user:
        options["User"] = address.user
    if address.port:
        options["Port"] = str(address.port)
    given = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    return ["ssh", "-T", "-x", "-a", *given, "--", address.host, _there(address, storage)]


def _there(address: Address, storage: Path) -> str:
    """Remote shell command: the configured program, else the node's own path, else the PATH."""
    words = shlex.join(["far-end", address.uri, str(storage)])
    if address.haulback:
        return f"exec {shlex.quote(address.haulback)} {words}"
    ours = shlex.quote(str(Path(sys.executable).with_name("haulback")))
    return f"if [ -x {ours} ]; then exec {ours} {words}; else exec haulback {words}; fi"
