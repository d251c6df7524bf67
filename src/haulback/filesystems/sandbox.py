"""Confinement of a process before it parses hostile data."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from contextlib import suppress

from haulback.units import GIB

MOST_MEMORY = GIB  # bytes of address space
MOST_CPU = 3600  # seconds of the whole process; the parent limits each request
_NOBODY = 65534  # uid and gid of nobody
_PDEATHSIG, _NO_NEW_PRIVS = 1, 38  # options of prctl(2)
_NEW_NAMESPACES = 0x40000000 | 0x08000000 | 0x04000000  # network, IPC, host name


def confine() -> None:
    """Drop files, network, memory and privileges.

    Raises OSError when a mandatory step fails. Without root the process keeps its user and network.
    """
    parent = os.getppid()
    libc = ctypes.CDLL(None, use_errno=True)
    if os.getuid() == 0:
        _leave_root(libc)
    limits = {
        resource.RLIMIT_AS: MOST_MEMORY,
        resource.RLIMIT_CPU: MOST_CPU,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_NOFILE: 64,
    }
    for limit, most in limits.items():
        resource.setrlimit(limit, (most, most))
    if libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    # The parent may have died before PR_SET_PDEATHSIG was set; the signal would never come then.
    if os.getppid() != parent:
        raise OSError("the parent process has ended")


def _leave_root(libc: ctypes.CDLL) -> None:
    libc.unshare(_NEW_NAMESPACES)  # best effort: containers may forbid new namespaces
    with suppress(OSError):
        # The new root is a deleted folder, in which no file can be opened or created.
        nowhere = f"/tmp/haulback-{os.urandom(16).hex()}"
        os.mkdir(nowhere, 0o700)
        os.chdir(nowhere)
        os.rmdir(nowhere)
        os.chroot(".")
    os.setgroups([])
    os.setresgid(_NOBODY, _NOBODY, _NOBODY)
    os.setresuid(_NOBODY, _NOBODY, _NOBODY)
