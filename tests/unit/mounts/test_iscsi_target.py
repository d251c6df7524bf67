"""An iSCSI target needs its tools and a port, and none of its messages contains the secret."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest

from haulback.contract.mount import IscsiOrder
from haulback.errors import Conflict, Unavailable, Unsupported
from haulback.ids import new_guid
from haulback.mounts import iscsi_target


def order(portal: str = "127.0.0.1:0", port: int = 0) -> IscsiOrder:
    return IscsiOrder(
        disks=["vda"], clients=["iqn.2001-04.com.example:a"], portal=portal, port=port
    )


@pytest.mark.parametrize("missing", ["tgtd", "tgtadm", "setpriv"])
def test_a_node_without_a_tool_refuses_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
):
    tools = {"tgtd", "tgtadm", "setpriv"} - {missing}
    monkeypatch.setattr(
        iscsi_target.shutil, "which", lambda tool: f"/bin/{tool}" if tool in tools else None
    )
    offered = iscsi_target.serve(tmp_path, tmp_path, order(), new_guid(), b"key")
    with pytest.raises(Unsupported, match=f"without {missing}: install tgt"), offered:
        pytest.fail("nothing can be offered")


def test_a_port_that_another_program_holds_is_a_conflict(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Conflict, match=f"no free port at 127.0.0.1 among {port};"):
            iscsi_target._begun(tmp_path, order("127.0.0.1:3260", port))


class Daemon(iscsi_target._Daemon):
    """A daemon whose program is `sleep`, and does not answer."""

    def __init__(self, run_folder: Path, address: str, port: int) -> None:
        self.address, self.port, self._room, self._env = address, port, run_folder, {}
        self.child = subprocess.Popen(["sleep", "60"])


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **more: object) -> None:
        raise subprocess.TimeoutExpired(command, 10)

    monkeypatch.setattr(iscsi_target.subprocess, "run", run)


@pytest.mark.usefixtures("late")
def test_a_daemon_that_does_not_answer_is_named_without_the_secret(tmp_path: Path):
    daemon = Daemon(tmp_path, "127.0.0.1", 3260)
    with pytest.raises(Unavailable, match="took more than 10 s") as error:
        daemon._tgtadm("account", "new", "--user", "u", "--password", "swordfish")
    assert error.value.__cause__ is None
    assert "swordfish" not in str(error.value)
    daemon.close()
    assert daemon.child.poll() is not None


@pytest.mark.usefixtures("late")
def test_a_daemon_that_ended_does_not_listen_and_the_next_port_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    started: list[int] = []

    class Ended(Daemon):
        def __init__(self, run_folder: Path, address: str, port: int) -> None:
            super().__init__(run_folder, address, port)
            self.child.kill()
            self.child.wait()
            started.append(port)

    monkeypatch.setattr(iscsi_target, "_Daemon", Ended)
    monkeypatch.setattr(iscsi_target, "_PORTS", 2)
    monkeypatch.setattr(iscsi_target, "_is_free", lambda address, port: True)
    with pytest.raises(Conflict, match="3260 to 3261"):
        iscsi_target._begun(tmp_path, order("127.0.0.1:3260"))
    assert started == [3260, 3261]
