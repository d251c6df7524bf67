"""Mount folders on a node that show a backup, each served by a separate process."""

from __future__ import annotations

import ctypes.util
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import msgspec

from haulback import credentials
from haulback.contract.mount import PublishedFolder
from haulback.errors import Conflict, Forbidden, Unavailable, Unsupported
from haulback.mounts.spec import MountState

ROOTS = (Path("/mnt/haulback"), Path("/mnt/vprotect"))
_SECONDS = 30.0  # timeout for a folder to appear, and for its process to end
_NO_RIGHT = "; the user of the node needs the right to use it, which root has"
_REMEDY = (
    "install fuse3 (`apt-get install fuse3`), or mount the backup without a path and browse it"
)


def check(wanted: Iterable[PublishedFolder], roots: Sequence[Path]) -> None:
    """Check the requested mount folders.

    Raises Forbidden for a folder outside `roots`, Conflict for a folder that is in use or cannot be
    created.
    """
    for folder in wanted:
        path = Path(folder.path).resolve()
        if not any(path != root and path.is_relative_to(root) for root in roots):
            places = ", ".join(map(str, roots))
            raise Forbidden(f"mountPath: {path} is not below {places}; name a folder below")
        above = next(parent for parent in path.parents if os.path.lexists(parent))
        if not os.path.lexists(path) and not os.access(above, os.W_OK):
            raise Conflict(
                f"mountPath: the node cannot write to {above}, because the node does not "
                "run as root or a backup is mounted there; choose a folder below a "
                "restore root of the node, or unmount that backup"
            )
        if _is_used(path):
            raise Conflict(f"mountPath: {path} exists and is not an empty folder")


def _is_used(path: Path) -> bool:
    try:
        return path.exists() and (not path.is_dir() or any(path.iterdir()))
    except OSError:
        return True  # a mount whose FUSE process died


def to_make(wanted: Iterable[PublishedFolder]) -> list[str]:
    """Missing folders, deepest first; they are recorded before they are created."""
    missing = set()
    for one in wanted:
        folder = Path(one.path)
        while not folder.exists():
            missing.add(str(folder))
            folder = folder.parent
    return sorted(missing, key=len, reverse=True)


def show(
    socket: Path, disks: Iterable[str], wanted: Iterable[PublishedFolder], held: ExitStack
) -> list[subprocess.Popen[bytes]]:
    """Mount volumes or disks until `held` is closed or this process dies.

    Returns the FUSE processes. Raises Unsupported without FUSE, Unavailable when a folder cannot be
    mounted.
    """
    children = []
    for item in wanted:
        if not ctypes.util.find_library("fuse3") or not shutil.which("umount"):
            raise Unsupported(f"{item.path} cannot be mounted without FUSE: {_REMEDY}")
        Path(item.path).mkdir(mode=0o755, parents=True, exist_ok=True)
        names = msgspec.json.encode(item.disks or list(disks)).decode()
        program = "haulback.mounts.fuse_disks" if item.disks else "haulback.mounts.fuse"
        told = (str(socket), names, item.path, *([item.volume] if item.volume else []))
        child = subprocess.Popen(
            [sys.executable, "-m", program, *told],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=credentials.for_children(),
        )
        held.callback(_end, child)
        _wait(child, item.path)
        children.append(child)
    return children


def _wait(child: subprocess.Popen[bytes], folder: str) -> None:
    end = time.monotonic() + _SECONDS
    while not os.path.ismount(folder):
        if child.poll() is not None:
            said = child.stderr.read() if child.stderr else b""
            lines = said.decode(errors="replace").strip().splitlines()
            reason = lines[-1] if lines else "no reason given"
            remedy = _NO_RIGHT if "/dev/fuse" in reason else ""
            raise Unavailable(f"{folder} cannot be mounted: {reason}{remedy}")
        if time.monotonic() > end:
            raise Unavailable(f"{folder} was not mounted within {_SECONDS:.0f} s")
        time.sleep(0.02)


def _end(child: subprocess.Popen[bytes]) -> None:
    """Close the standard input of a FUSE process, so that it unmounts its folder and exits."""
    if child.stdin:
        child.stdin.close()
    try:
        child.wait(_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    if child.stderr:
        child.stderr.close()


def hide(shared: MountState) -> None:
    """Unmount and remove all folders of a mount, even after its process was killed."""
    for path in filter(None, (*shared.paths.values(), shared.raw)):
        unmount(path)  # unconditional: os.path.ismount is False for a mount whose process died
    for path in shared.made:
        with suppress(OSError):  # another user has put files there
            os.rmdir(path)


def unmount(folder: str) -> None:
    """Unmount a folder lazily, even while it is in use; no error if the folder is no mount."""
    command, env = ["umount", "--lazy", folder], credentials.for_children()
    subprocess.run(command, env=env, stderr=subprocess.DEVNULL, check=False)
