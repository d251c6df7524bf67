"""A node tells the server once of the damage that its mounts met, also after a restart."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from haulback.contract.damage import DamageReport
from haulback.errors import NotFound, Unavailable
from haulback.ids import new_guid
from haulback.mounts.damage_watch import DAMAGE
from haulback.mounts.supervisor import MountSupervisor
from haulback.node.mount_sync import MountSync
from haulback.node.state_dir import StateDir
from haulback.node.task_mounts import TaskMounts, on_server_clock

HOUR = 3_600_000


class Link:
    """A server that wants one mount; its clock is an hour ahead of the node's clock."""

    def __init__(self, mount: str) -> None:
        self.mount, self.is_away = mount, False
        self.met: list[DamageReport] = []

    def shares(self) -> list[str]:
        return [self.mount]

    def needed(self, guids: Sequence[str]) -> Sequence[str]:
        return guids

    def share(self, guid: str, kind: type) -> None:
        raise NotFound(guid)

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + HOUR

    def met_damage(self, guid: str, reports: Sequence[DamageReport]) -> None:
        if self.is_away:
            raise Unavailable("the server is away")
        self.met += reports


@pytest.fixture
def home(tmp_path: Path) -> StateDir:
    home = StateDir(tmp_path / "node", [])
    (tmp_path / "run").mkdir()
    home.shares = MountSupervisor(tmp_path / "shares", run_folders=tmp_path / "run")
    return home


def test_a_node_reports_each_damage_of_a_mount_once(home: StateDir):
    mount = new_guid()
    link: Any = Link(mount)
    folder = home.shares.run_folder(mount)
    folder.mkdir()
    first, second = (DamageReport(new_guid(), found=HOUR) for _ in range(2))
    (folder / DAMAGE).write_bytes(msgspec.json.encode([first]))
    link.is_away = True
    MountSync(link, home).look()
    link.is_away = False
    for _ in range(2):  # the node starts again
        MountSync(link, home).look()
    assert [report.destination for report in link.met] == [first.destination]
    assert abs(link.met[0].found - 2 * HOUR) < HOUR / 60
    (folder / DAMAGE).write_bytes(msgspec.json.encode([first, second]))
    progress: Any = None
    rest = TaskMounts(home.shares, progress, link).end(mount)
    assert [report.destination for report in rest] == [second.destination]
    home.close()


def test_damage_is_told_when_the_first_unmount_did_not_end(home: StateDir):
    mount = new_guid()
    progress: Any = None
    link: Any = Link(mount)
    folder = home.shares.run_folder(mount)
    folder.mkdir()
    (folder / DAMAGE).write_bytes(msgspec.json.encode([DamageReport(new_guid(), found=HOUR)]))
    link.is_away = True
    attempts = [TaskMounts(home.shares, progress, link).end(mount) for _ in range(2)]
    assert [len(met) for met in attempts] == [1, 1]
    assert not folder.exists()
    MountSync(link, home).look()
    link.mount, link.is_away = new_guid(), False  # the server wants another mount now
    for _ in range(2):
        MountSync(link, home).look()
    assert len(link.met) == 1
    assert TaskMounts(home.shares, progress, link).end(mount) == []
    home.close()


def test_a_time_of_finding_is_moved_to_the_clock_of_the_server():
    report = DamageReport(new_guid(), found=500)
    [moved] = on_server_clock([report], 1_000, node_ms=700)
    assert moved.found == 800
