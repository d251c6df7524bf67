"""Errors of the operating system name the path, the user and the remedy."""

from __future__ import annotations

import errno
import os

import pytest

from haulback.node.runner import reason
from haulback.system_errors import denied, of_system, user


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EACCES, f"give the user {user()} the right"),
        (errno.EROFS, "mount it writable"),
        (errno.ENOENT, "check the path"),
        (errno.ENOTDIR, "name a folder"),
        (errno.EISDIR, "name a file"),
        (errno.ENOSPC, "make room"),
        (errno.EMFILE, "ulimit -n"),
        (errno.EIO, "try again"),
    ],
)
def test_an_error_of_the_system_names_the_place_and_the_remedy(number: int, remedy: str):
    error = OSError(number, os.strerror(number), "/srv/store")
    message = of_system(error).message
    assert message.startswith(f"/srv/store: {os.strerror(number)}: ")
    assert remedy in message
    assert reason(error) == message  # a task that a node gives up says the same


def test_a_refused_read_names_the_user():
    assert denied(OSError(errno.EACCES, "no")) == f"no; give the user {user()} the right to use it"
    assert denied(OSError(errno.EIO, "no")) == "no"
