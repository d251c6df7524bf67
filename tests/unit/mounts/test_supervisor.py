"""The supervisor of mounts finds, refuses and ends mounts, whatever state their processes are
in.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from types import SimpleNamespace

import msgspec
import pytest

from haulback.contract.damage import DamageReport
from haulback.drivers.nbd_server import NbdServer
from haulback.drivers.source import RawImage
from haulback.errors import Conflict, NotFound, Unavailable
from haulback.ids import new_guid
from haulback.mounts import supervisor
from haulback.mounts.damage_watch import DAMAGE
from haulback.mounts.spec import MountSpec, MountState
from haulback.mounts.supervisor import MountSupervisor
from haulback.units import MIB


@pytest.fixture
def mounts(tmp_path: Path) -> Iterator[MountSupervisor]:
    with TemporaryDirectory() as run:  # a short path, because UNIX sockets allow 107 bytes
        yield MountSupervisor(tmp_path / "shares", run_folders=Path(run))


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


class SlowStart:
    """A process of a mount that serves its disk before the node gets its answer.

    `begins` is set when the disk is served; the answer waits for `may_end`.
    """

    def __init__(self, folder: Path) -> None:
        self.begins, self.may_end, self._held = Event(), Event(), ExitStack()
        self._image = folder / "image"
        self._image.write_bytes(bytes(MIB))
        subprocess.run(["mke2fs", "-q", self._image], check=True)

    def __call__(self, command: list[str], **_: object) -> subprocess.CompletedProcess[bytes]:
        run_folder = Path(command[-1])
        lock = os.open(run_folder / supervisor.LOCK, os.O_CREAT | os.O_WRONLY)
        self._held.callback(os.close, lock)
        fcntl.flock(lock, fcntl.LOCK_EX)
        disk = self._held.enter_context(closing(RawImage(self._image)))
        self._held.enter_context(NbdServer(run_folder / supervisor.NBD, {"vda": disk}))
        self.begins.set()
        assert self.may_end.wait(30)
        answer = msgspec.json.encode(MountState(disks={"vda": MIB}))
        return subprocess.CompletedProcess(command, 0, answer)

    def end(self) -> None:
        self._held.close()


@pytest.fixture
def slow_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowStart]:
    start = SlowStart(tmp_path)
    monkeypatch.setattr(supervisor.subprocess, "run", start)
    yield start
    start.end()


def test_a_listing_during_the_start_of_a_mount_sees_the_disks_of_the_mount(
    mounts: MountSupervisor, slow_start: SlowStart
):
    guid = new_guid()

    def volumes() -> list[str]:
        with mounts.browser(guid) as browser:
            return [volume.name for volume in browser.volumes()]

    with ThreadPoolExecutor() as pool:
        started = pool.submit(mounts.begin, spec(guid))
        assert slow_start.begins.wait(30)
        listed = pool.submit(volumes)
        with suppress(TimeoutError):
            listed.result(0.2)  # a listing that does not wait has its answer now
        slow_start.may_end.set()
        assert started.result().disks == {"vda": MIB}
        assert listed.result() == volumes() == ["vda"]
    mounts.close()


def test_a_start_whose_node_died_is_no_mount_that_is_served(
    mounts: MountSupervisor, slow_start: SlowStart
):
    guid, record = new_guid(), MountState()
    mounts.run_folder(guid).mkdir()
    slow_start.may_end.set()
    slow_start(["process", str(mounts.run_folder(guid))])
    mounts._write(guid, record)
    assert mounts.lives(guid)
    assert not mounts.is_served(guid)
    with pytest.raises(NotFound, match=guid), mounts.browser(guid):
        pytest.fail("has no disks")
    mounts._write(guid, MountState(is_ready=True))
    assert mounts.is_served(guid)


def test_a_mount_that_starts_again_after_its_check_gives_no_browser_without_disks(
    mounts: MountSupervisor, monkeypatch: pytest.MonkeyPatch
):
    guid = new_guid()
    monkeypatch.setattr(mounts, "is_served", lambda _: True)  # the check before the new start
    mounts._write(guid, MountState())
    for _ in range(2):
        with pytest.raises(NotFound, match=guid), mounts.browser(guid):
            pytest.fail("has no disks")


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
    restarted = MountSupervisor(tmp_path / "shares", run_folders=folder.parent)
    assert restarted.damage(guid) == []
    (folder / DAMAGE).write_bytes(msgspec.json.encode([first, second]))
    assert restarted.damage(guid) == [second]
    restarted.acknowledge(guid, [second])
    again = msgspec.structs.replace(first, found=3)
    (folder / DAMAGE).write_bytes(msgspec.json.encode([again, second]))
    assert restarted.end(guid) == [again]
