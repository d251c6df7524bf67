"""The supervisor of mounts finds, refuses and ends mounts, whatever state their processes are
in.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from haulback.contract.damage import DamageReport
from haulback.errors import Conflict, NotFound, Unavailable
from haulback.ids import new_guid
from haulback.mounts import supervisor
from haulback.mounts.damage_watch import DAMAGE
from haulback.mounts.spec import MountSpec, MountState
from haulback.mounts.supervisor import MountSupervisor


@pytest.fixture
def mounts(tmp_path: Path) -> MountSupervisor:
    (tmp_path / "run").mkdir()
    return MountSupervisor(tmp_path / "shares", run_folders=tmp_path / "run")


def spec(guid: str) -> MountSpec:
    return MountSpec(
        guid=guid, driver="folder", config={}, repository=None, key=b"", backup="b", visible=[]
    )


@pytest.mark.parametrize("guid", ["", "..", "../etc", "a" * 100])
def test_a_name_that_is_no_guid_leads_to_no_folder(mounts: MountSupervisor, guid: str):
    with pytest.raises(NotFound, match="not the guid of a mount"):
        mounts.run_folder(guid)


def test_a_mount_that_does_not_run_has_no_files(mounts: MountSupervisor):
    guid = new_guid()
    with pytest.raises(NotFound, match=guid), mounts.browser(guid):
        pytest.fail("has no mount")
    mounts.end(guid)


def test_a_folder_of_another_user_is_no_mount_and_is_not_used(
    mounts: MountSupervisor, monkeypatch: pytest.MonkeyPatch
):
    guid = new_guid()
    mounts.run_folder(guid).mkdir()
    (mounts.run_folder(guid) / supervisor.PID).write_text("1")
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert not mounts.lives(guid)
    monkeypatch.setattr(supervisor.shutil, "rmtree", lambda path, ignore_errors: None)
    with pytest.raises(Conflict, match="exists already and cannot be removed"):
        mounts.begin(spec(guid))


def test_a_mount_that_does_not_start_leaves_nothing(
    mounts: MountSupervisor, monkeypatch: pytest.MonkeyPatch
):
    def late(*given: object, **more: object) -> None:
        raise subprocess.TimeoutExpired("python", 60)

    monkeypatch.setattr(supervisor.subprocess, "run", late)
    guid = new_guid()
    with pytest.raises(Unavailable, match="did not start within 60 s"):
        mounts.begin(spec(guid))
    assert mounts.all() == []
    assert not mounts.run_folder(guid).exists()


def test_a_process_that_ignores_its_end_is_killed_and_named(
    mounts: MountSupervisor, monkeypatch: pytest.MonkeyPatch
):
    guid, sent = new_guid(), list[int]()
    times = iter([0.0, 5.0, 5.0, 20.0, 20.0, 61.0, 61.0])
    monkeypatch.setattr(mounts, "lives", lambda _: True)
    monkeypatch.setattr(mounts, "_signal", lambda _, number: sent.append(number))
    # A clock of the supervisor alone: threads of other tests read the clock of the process.
    clock = SimpleNamespace(monotonic=lambda: next(times), sleep=time.sleep)
    monkeypatch.setattr(supervisor, "time", clock)
    with pytest.raises(Unavailable, match=f"{guid} does not end"):
        mounts.end(guid)
    assert sent == [signal.SIGTERM, signal.SIGKILL, signal.SIGKILL]


def test_a_signal_to_a_process_that_is_gone_is_no_error(mounts: MountSupervisor):
    guid = new_guid()
    mounts.run_folder(guid).mkdir()
    for text in (None, "", "no number", str(2**22 + 1)):
        if text is not None:
            (mounts.run_folder(guid) / supervisor.PID).write_text(text)
        mounts._signal(guid, signal.SIGTERM)


def test_disks_that_do_not_answer_give_no_browser(tmp_path: Path):
    with pytest.raises(Unavailable, match="no NBD server"):
        supervisor._Open(tmp_path, ["vda"])


def test_a_mount_that_was_begun_again_is_not_ended_for_the_one_before_it(mounts: MountSupervisor):
    guid = new_guid()
    assert mounts.beginning(guid) == 0
    mounts._write(guid, MountState())
    before = mounts.beginning(guid)
    os.utime(mounts._folder / guid, ns=(1, before + 1))  # another mount wrote its record
    assert not mounts.end_unchanged(guid, before)
    assert mounts.all() == [guid]
    assert mounts.end_unchanged(guid, mounts.beginning(guid))
    assert mounts.all() == []


def test_damage_that_the_server_took_is_not_reported_again(mounts: MountSupervisor, tmp_path: Path):
    guid = new_guid()
    folder = mounts.run_folder(guid)
    folder.mkdir()
    first, second = DamageReport(new_guid(), found=1), DamageReport(new_guid(), found=2)
    (folder / DAMAGE).write_bytes(msgspec.json.encode([first]))
    assert mounts.damage(guid) == [first]
    mounts.acknowledge(guid, [first])
    restarted = MountSupervisor(tmp_path / "shares", run_folders=tmp_path / "run")
    assert restarted.damage(guid) == []
    (folder / DAMAGE).write_bytes(msgspec.json.encode([first, second]))
    assert restarted.damage(guid) == [second]
    restarted.acknowledge(guid, [second])
    again = msgspec.structs.replace(first, found=3)
    (folder / DAMAGE).write_bytes(msgspec.json.encode([again, second]))
    assert restarted.end(guid) == [again]
