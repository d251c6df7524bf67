"""A child process that changes an image may outlive its caller; the next caller waits for it."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import fcntl, os, sys
from pathlib import Path
from haulback.drivers.images import qemu
handle = os.open(sys.argv[1], os.O_RDONLY)
fcntl.flock(handle, fcntl.LOCK_EX)
with qemu.holding(handle):
    qemu.change_inner(Path("image"), "-c", "name")
"""
TOOL = """#!/bin/sh
echo at work > {folder}/begun
read _ < {folder}/gate
"""


def test_an_orphan_keeps_the_lock_of_who_began_it(tmp_path: Path):
    os.mkfifo(tmp_path / "gate")
    os.mkfifo(tmp_path / "begun")
    tool = tmp_path / "qemu-img"
    tool.write_text(TOOL.format(folder=tmp_path))
    tool.chmod(0o755)
    path = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    with subprocess.Popen([sys.executable, "-c", PROGRAM, tmp_path], env=path) as began:
        assert (tmp_path / "begun").read_text() == "at work\n"
        began.send_signal(signal.SIGKILL)
    handle = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        (tmp_path / "gate").write_text("go\n")
        fcntl.flock(handle, fcntl.LOCK_EX)  # after the end of the child
    else:
        raise AssertionError("nobody waits for it")
    finally:
        os.close(handle)
