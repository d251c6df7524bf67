"""Disks offered by iSCSI: a target in user space (tgtd) that dies with the process which serves."""

from __future__ import annotations

import base64
import hashlib
import hmac
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from haulback import credentials
from haulback.errors import Conflict, HaulbackError, Unavailable, Unsupported
from haulback.shares.order import IscsiOrder, files_of

USER = "haulback"
_PORTS = 100  # that are tried, from the node's own on
_SECONDS = 10.0
_SECRET = 16  # characters; some initiators take no more, and none takes fewer than 12
_REMEDY = "install tgt on the node (`apt-get install tgt`)"


def name_of(guid: str) -> str:
    """How a share is called among iSCSI targets."""
    return f"iqn.2026-11.org.haulback:{guid}"


def secret_of(key: bytes, guid: str) -> str:
    """What initiators prove to know (CHAP).  It follows from the repository's key: kept nowhere."""
    made = hmac.digest(key, b"iscsi " + guid.encode(), hashlib.sha256)
    return base64.b32encode(made).decode()[:_SECRET]


@contextmanager
def serve(
    room: Path, folder: Path, wanted: IscsiOrder, guid: str, key: bytes
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Offer the files in `folder` that are named as the disks.

    The portal, as initiators reach it, and the process that listens there.

    Raises Unsupported without tgt, Conflict when no port is free.
    """
    for tool in ("tgtd", "tgtadm", "setpriv"):
        if not shutil.which(tool):
            raise Unsupported(f"disks cannot be shared by iSCSI without {tool}: {_REMEDY}")
    daemon = _begun(room, wanted)
    try:
        files = [folder / name for name in files_of(wanted.disks).values()]
        daemon.offer(guid, files, wanted.clients, key)
        host = socket.gethostname() if daemon.address in ("0.0.0.0", "[::]") else daemon.address
        yield f"{host}:{daemon.port}", daemon.child
    finally:
        daemon.close()


def _begun(room: Path, wanted: IscsiOrder) -> _Daemon:
    """A target that listens where it should, and offers nothing yet."""
    address, _, usual = wanted.portal.rpartition(":")
    first = int(usual)
    ports = [wanted.port] if wanted.port else range(first, first + _PORTS)
    for port in ports:
        if _is_free(address, port):
            daemon = _Daemon(room, address, port)
            if daemon.listens():
                return daemon
            daemon.close()
    where = str(wanted.port or f"{first} to {first + _PORTS - 1}")
    raise Conflict(f"iSCSI: no port of {address} is free, of {where}; name another by --iscsi")


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
    """A tgtd of our own; it asks nobody's settings, and is asked by a socket in `room`."""

    def __init__(self, room: Path, address: str, port: int) -> None:
        self.address, self.port = address, port
        self._room = room
        # By default it would listen for everybody's commands, and outlive us.
        self._env = credentials.for_children({"TGT_IPC_SOCKET": str(room / "tgt")})
        command = ["setpriv", "--pdeathsig", "KILL", "tgtd", "-f", "-C", "0"]
        self.child = subprocess.Popen(
            [*command, "--iscsi", f"portal={address}:{port}"],
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def listens(self) -> bool:
        """Once it is there: it goes on without a port that it did not get, and takes another."""
        end = time.monotonic() + _SECONDS
        while time.monotonic() < end and self.child.poll() is None:
            try:
                return f"Portal: {self.address}:{self.port}," in self._ask("portal", "show")
            except HaulbackError:
                time.sleep(0.02)
        return False

    def offer(self, guid: str, files: Sequence[Path], clients: Sequence[str], key: bytes) -> None:
        """Who may come in is said last, when all else stands.

        The secret is an argument, so a user of this host may see it for a moment; tgtadm knows no
        other way.
        """
        self._ask("target", "new", "--tid", "1", "--targetname", name_of(guid))
        for lun, file in enumerate(files, 1):
            disk = ("--tid", "1", "--lun", str(lun))
            self._ask("logicalunit", "new", *disk, "--backing-store", str(file))
            # Two disks of one id would be taken for two ways to the same one.
            serial = f"{guid.replace('-', '')}{lun:02x}"
            told = f"readonly=1,scsi_id={serial},scsi_sn={serial},vendor_id=HAULBACK"
            self._ask("logicalunit", "update", *disk, "--params", told)
        self._ask("account", "new", "--user", USER, "--password", secret_of(key, guid))
        self._ask("account", "bind", "--tid", "1", "--user", USER)
        for client in clients:
            self._ask("target", "bind", "--tid", "1", "--initiator-name", client)

    def _ask(self, mode: str, op: str, *words: str) -> str:
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
        except subprocess.TimeoutExpired:  # it holds all arguments, a secret among them
            raise Unavailable(f"iSCSI: {mode} {op} took more than {_SECONDS:.0f} s") from None
        if done.returncode:
            raise Unavailable(f"iSCSI: {mode} {op}: {done.stderr.strip()[-300:]}")
        return done.stdout

    def close(self) -> None:
        """It does not end by SIGTERM while it has targets."""
        self.child.kill()
        self.child.wait()
