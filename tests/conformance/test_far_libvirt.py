"""The libvirt driver over SSH passes the conformance suite of all hypervisor drivers."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from haulback.drivers.hypervisor import Machine, MachineDisk
from haulback.drivers.remote.ssh import far_libvirt
from haulback.errors import HaulbackError, Unavailable, Unsupported
from haulback.testing.hypervisors import (
    CHECKS,
    an_increment_finds_every_change_since_its_base,
    contents,
)
from haulback.testing.libvirt_lab import LibvirtLab
from haulback.testing.remote import Reached
from haulback.units import MIB
from tests.conformance.test_libvirt import Awake, RunningBench, StoppedBench
from tests.hosts import needs_libvirt, needs_sshd

pytestmark = [needs_libvirt, needs_sshd]


class FarRunningBench(RunningBench):
    def __init__(self, host: LibvirtLab, way: Reached) -> None:
        super().__init__(host)
        self.far = far_libvirt(way.url(host.uri), host.storage)
        self.hypervisor = Awake(host, self.far)


@pytest.fixture
def running(host: LibvirtLab, way: Reached) -> Iterator[FarRunningBench]:
    made = FarRunningBench(host, way)
    yield made
    made.far.close()
    host.clear()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_libvirt_reached_by_ssh_keeps_the_promises_of_a_hypervisor(
    running: FarRunningBench, host: LibvirtLab, check
):
    check(running)
    assert not [p for p in host.storage.iterdir() if p.name.startswith(".")]
    assert running.hypervisor.sweep(set()) == []


def test_a_machine_that_is_off_is_read_by_its_changes_too(host: LibvirtLab, way: Reached):
    bench = StoppedBench(host)
    with closing(far_libvirt(way.url(host.uri), host.storage)) as far:
        bench.hypervisor = far
        an_increment_finds_every_change_since_its_base(bench)
    host.clear()


def made(bench: FarRunningBench) -> str:
    with bench.hypervisor.create(wanted(), "make") as new:
        new.sink("vda").write_at(MIB, b"a" * 4096)
        return new.commit().uuid


def wanted() -> Machine:
    return Machine("", "web", (MachineDisk("vda", 8 * MIB, "qcow2"),), {"memory": 64})


def test_a_backup_whose_line_is_cut_leaves_nothing_at_the_host_and_the_next_one_is_right(
    running: FarRunningBench, host: LibvirtLab, way: Reached
):
    uuid = made(running)
    snapshot = running.hypervisor.snapshot(uuid, "cut")
    domain = host.connection.lookupByUUIDString(uuid)
    assert domain.backupGetXMLDesc()
    [client] = way.clients()
    os.kill(client, signal.SIGKILL)
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1"):
        snapshot.views()[0].source.read_into(0, memoryview(bytearray(4096)))
    with pytest.raises(Unavailable):
        snapshot.close()
    host.until(lambda: not backs_up(domain))
    running.hypervisor.sweep(set())
    assert running.hypervisor.drop_checkpoints(uuid, set()) == ["haulback-cut"]
    [result] = contents(running.hypervisor, uuid)
    assert result == (bytes(MIB) + b"a" * 4096).ljust(8 * MIB, b"\0")


def backs_up(domain) -> bool:
    try:
        return bool(domain.backupGetXMLDesc())
    except Exception:  # noqa: BLE001 - libvirt's own
        return False


def test_a_machine_whose_line_is_cut_while_it_is_made_is_none(
    running: FarRunningBench, host: LibvirtLab, way: Reached
):
    new = running.hypervisor.create(wanted(), "cut")
    [client] = way.clients()
    os.kill(client, signal.SIGKILL)
    with pytest.raises(Unavailable):
        new.sink("vda").write_at(0, os.urandom(100 * MIB))  # more bytes than any pipe buffers
    with pytest.raises(Unavailable):
        new.commit()
    host.until(lambda: not list(host.storage.iterdir()))
    assert running.hypervisor.inventory().machines == []


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"keyfile": "/nowhere/key"}, "Permission denied"),
        ({"known_hosts": "/dev/null"}, "Host key verification failed"),
        ({"haulback": "/nowhere/haulback"}, "has no command haulback; install"),
        ({"haulback": "/bin/true"}, "cannot be reached by SSH"),
        ({"haulback": "/bin/yes"}, "cannot be reached by SSH"),
    ],
)
def test_a_host_that_cannot_be_reached_says_why(
    host: LibvirtLab, way: Reached, more: dict[str, str], said: str
):
    far = far_libvirt(way.url(host.uri, **more), host.storage)
    with pytest.raises(Unavailable, match=said):
        far.check()


def test_another_version_at_the_far_end_is_refused(host: LibvirtLab, way: Reached, tmp_path: Path):
    program = tmp_path / "haulback"
    program.write_text(
        "#!/bin/sh\necho Welcome to this machine.\necho haulback far end 0.0.0-old\n"
    )
    program.chmod(0o755)
    far = far_libvirt(way.url(host.uri, haulback=str(program)), host.storage)
    with pytest.raises(Unsupported, match=r"0\.0\.0-old.*install the same"):
        far.check()


def test_output_of_a_login_is_not_read_as_a_message(host: LibvirtLab, way: Reached, tmp_path: Path):
    ours = Path(sys.executable).with_name("haulback")
    program = tmp_path / "haulback"
    program.write_text(f'#!/bin/sh\necho Welcome to this machine.\nexec {ours} "$@"\n')
    program.chmod(0o755)
    far = far_libvirt(way.url(host.uri, haulback=str(program)), host.storage)
    far.check()
    far.close()


def test_a_storage_that_is_not_there_is_said(host: LibvirtLab, way: Reached):
    far = far_libvirt(way.url(host.uri), host.storage / "nowhere")
    with pytest.raises(HaulbackError, match="is missing; create or mount it"):
        far.check()
    far.close()
