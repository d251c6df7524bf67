"""QEMU tools as child processes: qemu-img for bitmaps and snapshots, qemu-nbd for data."""

from __future__ import annotations

import fcntl
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Literal

import msgspec

from haulback import credentials
from haulback.drivers.direct_writes import is_suitable
from haulback.drivers.images.image import in_a_moment, in_use
from haulback.drivers.nbd import ALLOCATION, Export, dirty_bitmap
from haulback.durable_files import translate
from haulback.errors import Malformed, Unavailable, Unsupported

_PATIENCE = 120  # seconds for a tool to finish
_LOOK = 10  # seconds for the size of a disk, which may be on a network
_USERS = ("libvirt-qemu", "qemu")  # system users under which distributions run QEMU
_REMEDY = "install qemu-utils (`apt-get install qemu-utils`)"
_held: ContextVar[tuple[int, ...]] = ContextVar("held", default=())
# The script imitates systemd's socket activation: qemu-nbd takes its listening socket from
# descriptor 3. $0 is the id of this process: a shell with another parent is an orphan and exits.
_ACTIVATE = """[ "$PPID" = "$0" ] || exit 1
exec 3<&0 </dev/null; LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"
"""


class Bitmap(msgspec.Struct, frozen=True):
    """A persistent dirty bitmap; unusable while `flags` contains "in-use"."""

    name: str
    flags: tuple[str, ...] = ()


class InternalSnapshot(msgspec.Struct, frozen=True, rename="kebab"):
    """An internal snapshot of an image; `date_sec` in seconds since the epoch."""

    id: str
    name: str
    date_sec: int
    date_nsec: int = 0


class _Data(msgspec.Struct):
    bitmaps: tuple[Bitmap, ...] = ()


class _Specific(msgspec.Struct):
    data: _Data


class _Size(msgspec.Struct):
    size: int = msgspec.field(name="virtual-size")


class _Info(msgspec.Struct):
    specific: _Specific = msgspec.field(name="format-specific")
    snapshots: tuple[InternalSnapshot, ...] = ()


def installed() -> bool:
    """Whether qemu-img and qemu-nbd are installed."""
    return bool(shutil.which("qemu-img") and shutil.which("qemu-nbd"))


@contextmanager
def holding(lock: int) -> Iterator[None]:
    """Let child processes that change images inherit a locked descriptor.

    A child may outlive this process. The lock stays taken until the child ends, so the next process
    that takes the lock cannot meet a running tool.
    """
    before = _held.set((*_held.get(), lock))
    try:
        yield
    finally:
        _held.reset(before)


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Hold the exclusive lock on a folder, which QEMU tools that run meanwhile inherit.

    Raises the translated error if the folder cannot be opened.
    """
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise translate(error, folder) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with holding(handle):
            yield
    finally:
        os.close(handle)


def require() -> None:
    """Raises Unsupported, with a remedy, when the QEMU tools are not installed."""
    if not installed():
        raise Unsupported(f"qcow2 images need QEMU's tools: {_REMEDY}")


def bitmaps(path: Path) -> tuple[Bitmap, ...]:
    """Bitmaps of a qcow2 image, which may be in use."""
    return _info(path).specific.data.bitmaps


def inner(path: Path) -> tuple[InternalSnapshot, ...]:
    """Internal snapshots of a qcow2 image, which may be in use."""
    return _info(path).snapshots


def _info(path: Path) -> _Info:
    text = _qemu_img(path, "info", "-U", "--output=json", "-f", "qcow2", str(path))
    try:
        return msgspec.json.decode(text, type=_Info)
    except msgspec.MsgspecError as error:
        raise Malformed(f"unknown output of qemu-img info for {path}: {error}") from None


def virtual_size(name: str, form: str | None) -> int:
    """Size in bytes of a disk; `name` is a path, or a `json:` name of QEMU without `form`.

    Raises Unavailable where the disk does not answer within ten seconds.
    """
    format_option = ["-f", form] if form else []
    text = _qemu_img(name, "info", "-U", "--output=json", *format_option, name, patience=_LOOK)
    try:
        return msgspec.json.decode(text, type=_Size).size
    except msgspec.MsgspecError as error:
        raise Malformed(f"unknown output of qemu-img info for {name}: {error}") from None


def change_inner(path: Path, how: Literal["-c", "-a", "-d"], name: str) -> None:
    """Create (-c), apply (-a) or delete (-d) an internal snapshot.

    To apply, `name` is the snapshot's id, because QEMU looks for ids before names. Raises
    SourceChanged when the image is in use.
    """
    in_a_moment(lambda: _qemu_img(path, "snapshot", how, name, str(path)))


def add_bitmap(path: Path, name: str) -> None:
    """Add a dirty bitmap that records writes from now on.

    Raises SourceChanged when the image is in use.
    """
    in_a_moment(lambda: _qemu_img(path, "bitmap", "--add", "-f", "qcow2", str(path), name))


def remove_bitmap(path: Path, name: str) -> None:
    """Remove a dirty bitmap. Raises SourceChanged when the image is in use."""
    in_a_moment(lambda: _qemu_img(path, "bitmap", "--remove", "-f", "qcow2", str(path), name))


def make_qcow2(path: Path, size: int, *, allocate: bool = False) -> None:
    """Create an empty image of `size` bytes; with `allocate` its space is preallocated."""
    options = ["-o", "preallocation=falloc"] if allocate else []
    _qemu_img(path, "create", "-q", "-f", "qcow2", *options, str(path), str(size))


def make_over(path: Path, backing: str) -> None:
    """Create an overlay on the raw disk `backing` (a file name or a `json:` name of QEMU)."""
    _qemu_img(path, "create", "-q", "-f", "qcow2", "-b", backing, "-F", "raw", str(path))


def hand_over(*paths: Path) -> None:
    """Give files to the user that runs QEMU on this host; without root, or such a user, do
    nothing.
    """
    if os.geteuid() != 0:
        return
    for name in _USERS:
        with suppress(KeyError):
            user = pwd.getpwnam(name)
            for path in paths:
                os.chown(path, user.pw_uid, user.pw_gid)
            return


class ServedImage:
    """An image served by a qemu-nbd process that ends with its only connection.

    The connection is made before the process starts, so no socket file stays in the file system. A
    process whose connection ended before it was accepted would wait forever: therefore the kernel
    kills it together with the thread that started it.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        bitmap: str | None = None,
        writable: bool = False,
        form: str | None = "qcow2",
    ) -> None:
        options = [f"--format={form}"] if form else []
        options += [] if writable else ["--read-only"]
        options += ["--cache=none"] if writable and is_suitable(Path(path)) else []
        options += ["--bitmap", bitmap] if bitmap else []
        contexts = [ALLOCATION, *([dirty_bitmap(bitmap)] if bitmap else [])]
        self.path, self._ended = path, False
        link, self._child = _spawn(path, options)
        try:
            self.export = Export(link, contexts=contexts, wait=_PATIENCE)
        except Unavailable as error:
            raise (self._reap() or error) from None
        except BaseException:
            self._reap()
            raise

    def close(self) -> None:
        """Close the connection and wait for the process.

        Raises Unavailable when qemu-nbd reports an error.
        """
        self.export.close()
        if not self._ended and (failure := self._reap()):
            raise failure

    def _reap(self) -> Exception | None:
        """Wait for the process; returns its error, if it failed. The connection must be closed."""
        try:
            _, complaint = self._child.communicate(timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            self._child.kill()
            _, complaint = self._child.communicate()
        self._ended = True
        return _explain(self.path, "qemu-nbd", complaint) if self._child.returncode else None


def _spawn(
    path: Path | str, options: Sequence[str]
) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    command = ["qemu-nbd", "--detect-zeroes=off", *options, str(path)]
    with tempfile.TemporaryDirectory(prefix="haulback-") as room, closing(_socket()) as listener:
        listener.bind(f"{room}/nbd")
        listener.listen(1)
        link = _socket()
        try:
            link.connect(f"{room}/nbd")
            return link, subprocess.Popen(
                [*_mortal(), "/bin/sh", "-c", _ACTIVATE, str(os.getpid()), *command],
                stdin=listener.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=credentials.for_children(),
            )
        except BaseException:
            link.close()
            raise


def _mortal() -> list[str]:
    """Command prefix that makes the kernel kill a child with its parent, where available."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL"] if setpriv else []


def _socket() -> socket.socket:
    return socket.socket(socket.AF_UNIX)


def _qemu_img(path: Path | str, *arguments: str, patience: float = _PATIENCE) -> bytes:
    try:
        done = subprocess.run(
            ["qemu-img", *arguments],
            capture_output=True,
            timeout=patience,
            check=False,
            stdin=subprocess.DEVNULL,
            env=credentials.for_children(),
            pass_fds=_held.get(),
        )
    except FileNotFoundError:
        raise Unsupported(f"{path} needs QEMU's tools: {_REMEDY}") from None
    except subprocess.TimeoutExpired:
        raise Unavailable(f"qemu-img did not finish on {path} within {patience:.0f} s") from None
    if done.returncode:
        raise _explain(path, "qemu-img", done.stderr)
    return done.stdout


def _explain(path: Path | str, tool: str, complaint: bytes) -> Exception:
    text = " ".join(complaint.decode(errors="replace").split())[:300]
    if "lock" in text and "Is another process using the image" in text:
        return in_use(Path(path))
    return Unavailable(f"{tool} failed on {path}: {text or 'no reason given'}")
