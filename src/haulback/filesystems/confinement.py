"""What a process gives up before it looks at hostile bytes."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import tempfile
from contextlib import suppress

from haulback.units import GIB

MOST_MEMORY = GIB
MOST_CPU = 3600  # seconds in all; a single question has its deadline with the parent
_NOBODY = 65534
_PDEATHSIG, _NO_NEW_PRIVS = 1, 38
_NEW_NAMESPACES = 0x40000000 | 0x08000000 | 0x04000000  # network, IPC, host name


def confine() -> None:
    """Give up files, network, memory and privileges; raises OSError where that must not fail."""
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
    if os.getppid() != parent:
        raise OSError("the parent is gone")


def _leave_root(libc: ctypes.CDLL) -> None:
    libc.unshare(_NEW_NAMESPACES)  # a container may forbid it
    with suppress(OSError):
        # The root is a folder that is no longer there: nothing can be opened or made in it.
        nowhere = tempfile.mkdtemp()
        os.chdir(nowhere)
        os.rmdir(nowhere)
        os.chroot(".")
    os.setgroups([])
    os.setresgid(_NOBODY, _NOBODY, _NOBODY)
    os.setresuid(_NOBODY, _NOBODY, _NOBODY)
