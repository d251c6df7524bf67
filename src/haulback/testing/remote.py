"""Remote drivers for tests: in this process through pipes, and by SSH to this machine."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

from haulback.drivers.hypervisor import MachineSource
from haulback.drivers.remote.main import serve
from haulback.drivers.remote.proxy import RemoteHypervisor
from haulback.drivers.remote.rpc import PeerConnection
from haulback.testing.server_start import is_listening

_SSHD = """Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/key.pub
PidFile none
StrictModes no
UsePAM no
PermitRootLogin prohibit-password
PasswordAuthentication no
"""


def in_this_process(inner: MachineSource) -> RemoteHypervisor:
    """A remote hypervisor whose driver runs in a thread of this process."""

    def connect() -> PeerConnection:
        to_far, from_near = os.pipe()
        to_near, from_far = os.pipe()
        Thread(target=serve, args=(inner, to_far, from_far), daemon=True).start()
        while os.read(to_near, 1) != b"\n":
            pass
        link = PeerConnection(to_near, from_near)
        link.start()
        return link

    return RemoteHypervisor(connect)


def sshd() -> str | None:
    """Path of OpenSSH's server; None where it is not installed."""
    return shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


class Reached:
    """SSH host on this machine; `root` logs in with a key in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        for name in ("host", "key"):
            make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
            subprocess.run(make, check=True)
        key = (folder / "host.pub").read_text()
        (folder / "known").write_text(f"[127.0.0.1]:{self.port} {key}")
        (folder / "sshd_config").write_text(_SSHD.format(port=self.port, folder=folder))

    def url(self, local: str = "", **more: str) -> str:
        """URL that reaches the libvirt of URI `local` (qemu+unix:///system?socket=…) by SSH."""
        socket = local.partition("?socket=")[2]
        given = {"keyfile": f"{self.folder}/key", "known_hosts": f"{self.folder}/known"}
        given |= {"socket": socket} if socket else {}
        words = "&".join(f"{name}={value}" for name, value in (given | more).items())
        return f"qemu+ssh://root@127.0.0.1:{self.port}/system?{words}"

    def clients(self) -> list[int]:
        """Process ids of the SSH clients that are connected to this host."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                words = path.read_bytes().split(b"\0")
                if words[0] == b"ssh" and f"Port={self.port}".encode() in words:
                    found.append(int(path.parent.name))
        return found


@contextmanager
def reached(folder: Path) -> Iterator[Reached]:
    """Run an SSH server for the duration of the block."""
    made = Reached(folder)
    Path("/run/sshd").mkdir(exist_ok=True)
    command = [str(sshd()), "-D", "-e", "-f", str(folder / "sshd_config")]
    with open(folder / "log", "wb") as log, subprocess.Popen(command, stderr=log) as server:
        try:
            assert is_listening(made.port, server, 30)
            yield made
        finally:
            server.terminate()
