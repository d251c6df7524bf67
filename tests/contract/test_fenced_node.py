"""A node process with `--leash` exits as documented, without a traceback, when another process
takes over its session.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from haulback.node.state_dir import NodeIdentity, write_identity
from tests.contract.conftest import Served


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    made = Served(tmp_path_factory.mktemp("served"))
    try:
        made.furnish()
        yield made
    finally:
        made.close()


@pytest.fixture
def node(served: Served, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A node process with `--leash`, once its session is open."""
    write_identity(tmp_path, NodeIdentity(**served.identity))
    before = version(served)
    command = [sys.executable, "-m", "haulback", "node", "--leash"]
    command += ["--server", served.server.url, "--data", str(tmp_path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        while version(served) == before:
            assert process.poll() is None, process.communicate()[1]
        yield process
    finally:
        process.kill()
        process.communicate()


def version(served: Served) -> object:
    """The version that distinguishes one session of the node from the next."""
    [one] = [row for row in served.call("GET", "/api/nodes").json() if row["name"] == "n1"]
    return one.get("version"), one.get("lastSeen")


def last_words(node: subprocess.Popen[bytes]) -> bytes:
    """The log of a node up to its exit, while its standard input stays open."""
    assert node.stderr
    said = node.stderr.read()
    node.wait(60)
    return said


def test_a_fenced_node_on_a_leash_ends_with_its_own_exit_code(
    served: Served, node: subprocess.Popen[bytes]
):
    served.mover = served.new_session()
    served.export()  # wakes the long poll of the older process
    said = last_words(node)
    assert node.returncode == 6, said
    assert b"another process uses the identity of this node" in said
    assert b"Fatal Python error" not in said
    assert b"Traceback" not in said


def test_a_node_whose_leash_is_let_go_ends_in_peace(node: subprocess.Popen[bytes]):
    assert node.stdin
    node.stdin.close()
    node.stdin = None
    assert node.wait(60) == 0


def test_a_node_that_is_told_to_stop_ends_in_peace_while_its_leash_holds(
    node: subprocess.Popen[bytes],
):
    os.kill(node.pid, signal.SIGTERM)
    said = last_words(node)
    assert node.returncode == 0, said
    assert b"Fatal Python error" not in said
