"""iSCSI target of a mount: a user-space daemon (tgtd) that ends with the mount's process."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from haulback import credentials
from haulback.contract.iscsi import USER, name_of, secret_of
from haulback.contract.mount import IscsiOrder, files_of
from haulback.errors import Conflict, HaulbackError, Unavailable, Unsupported
from haulback.retry import Backoff, retry

_PORTS = 100  # ports that are tried, starting at the port of the node's portal
_SECONDS = 10.0  # timeout of the daemon's start and of each tgtadm command
_REMEDY = "install tgt on the node (`apt-get install tgt`)"


@contextmanager
def serve(
    run_folder: Path, folder: Path, wanted: IscsiOrder, guid: str, key: bytes
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Offer the files in `folder`, which represent the disks, until the context ends.

    Yields the portal for initiators (HOST:PORT) and the daemon's process. Raises Unsupported
    without tgt, Conflict when no port is free, Unavailable when tgtd refuses a command.
    """
    for tool in ("tgtd", "tgtadm", "setpriv"):
        if not shutil.which(tool):
            raise Unsupported(f"disks cannot be shared by iSCSI without {tool}: {_REMEDY}")
    daemon = _begun(run_folder, wanted)
    try:
        files = [folder / name for name in files_of(wanted.disks).values()]
        daemon.offer(guid, files, wanted.clients, key)
        host = socket.gethostname() if daemon.address in ("0.0.0.0", "[::]") else daemon.address
        yield f"{host}:{daemon.port}", daemon.child
    finally:
        daemon.close()


def _begun(run_folder: Path, wanted: IscsiOrder) -> _Daemon:
    """Start a daemon on the first free port; it offers no target yet.

    Raises Conflict when no port is free.
    """
    address, _, usual = wanted.portal.rpartition(":")
    first = int(usual)
    ports = [wanted.port] if wanted.port else range(first, first + _PORTS)
    for port in ports:
        if _is_free(address, port):
            daemon = _Daemon(run_folder, address, port)
            if daemon.listens():
                return daemon
            daemon.close()
    where = str(wanted.port or f"{first} to {first + _PORTS - 1}")
    raise Conflict(f"iSCSI: no free port at {address} among {where}; choose other ports by --iscsi")


def _is_free(address: str, port: int) -> bool:
    family = socket.AF_INET6 if address.startswith("[") else socket.AF_INET
    with socket.socket(family) as made:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            made.bind((address.strip("[]"), port))
        except OSError:
            return False
    return True


class _Daemon:
    """A tgtd without configuration file, controlled through a socket in `run_folder`."""

    def __init__(self, run_folder: Path, address: str, port: int) -> None:
        self.address, self.port = address, port
        self._room = run_folder
        # TGT_IPC_SOCKET keeps the control socket private to this mount. setpriv makes the kernel
        # kill tgtd when this process dies, because tgtd would otherwise outlive it.
        self._env = credentials.for_children({"TGT_IPC_SOCKET": str(run_folder / "tgt")})
        command = ["setpriv", "--pdeathsig", "KILL", "tgtd", "-f", "-C", "0"]
        self.child = subprocess.Popen(
            [*command, "--iscsi", f"portal={address}:{port}"],
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def listens(self) -> bool:
        """Wait until tgtd responds; returns whether it listens at the requested port.

        If the port is in use, tgtd silently listens on another port.
        """
        backoff = Backoff(0.02, seconds=_SECONDS)
        try:
            shown = retry(lambda: self._tgtadm("portal", "show"), backoff, self._may_start)
        except HaulbackError:
            return False
        return f"Portal: {self.address}:{self.port}," in shown

    def _may_start(self, error: Exception) -> bool:
        """Whether tgtd, which does not respond yet, still runs."""
        return isinstance(error, HaulbackError) and self.child.poll() is None

    def offer(self, guid: str, files: Sequence[Path], clients: Sequence[str], key: bytes) -> None:
        """Create the target with its LUNs; initiators are admitted last, once the target is
        complete.

        `key` is the repository's key. The CHAP secret is a command argument, so users of this host
        can see it for a moment: tgtadm has no other way to pass a secret.
        """
        self._tgtadm("target", "new", "--tid", "1", "--targetname", name_of(guid))
        for lun, file in enumerate(files, 1):
            disk = ("--tid", "1", "--lun", str(lun))
            self._tgtadm("logicalunit", "new", *disk, "--backing-store", str(file))
            # Initiators with multipathing treat two disks with the same id as two paths to one
            # disk.
            serial = f"{guid.replace('-', '')}{lun:02x}"
            told = f"readonly=1,scsi_id={serial},scsi_sn={serial},vendor_id=HAULBACK"
            self._tgtadm("logicalunit", "update", *disk, "--params", told)
        self._tgtadm("account", "new", "--user", USER, "--password", secret_of(key, guid))
        self._tgtadm("account", "bind", "--tid", "1", "--user", USER)
        for client in clients:
            self._tgtadm("target", "bind", "--tid", "1", "--initiator-name", client)

    def _tgtadm(self, mode: str, op: str, *words: str) -> str:
        try:
            done = subprocess.run(
                ["tgtadm", "-C", "0", "--lld", "iscsi", "--mode", mode, "--op", op, *words],
                env=self._env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=_SECONDS,
            )
        except subprocess.TimeoutExpired:  # not chained: the exception holds the CHAP secret
            raise Unavailable(f"iSCSI: {mode} {op} took more than {_SECONDS:.0f} s") from None
        if done.returncode:
            raise Unavailable(f"iSCSI: {mode} {op}: {done.stderr.strip()[-300:]}")
        return done.stdout

    def close(self) -> None:
        """Kill the daemon; tgtd ignores SIGTERM while it has targets."""
        self.child.kill()
        self.child.wait()
