"""The disks of a libvirt machine are read from any location, while it runs and while it is off."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from haulback.drivers.images.image_writer import restored_format
from haulback.drivers.libvirt import start_watch
from haulback.drivers.libvirt.driver import LibvirtHost
from haulback.errors import SourceChanged, Unavailable
from haulback.libvirt_xml import XML
from haulback.testing.hypervisors import read
from haulback.testing.libvirt_lab import LibvirtLab
from haulback.units import MIB
from tests.conformance.test_libvirt import RunningBench
from tests.conformance.test_libvirt_belongings import given, made
from tests.hosts import needs_libvirt
from tests.images import qemu_img, qemu_io

pytestmark = needs_libvirt
SIZE = MIB


class Place(NamedTuple):
    """A folder for images, and a stack of contexts that end with the test."""

    folder: Path
    ends: ExitStack


def qcow2(path: Path, *options: str | Path) -> Path:
    qemu_img("create", "-q", "-f", "qcow2", *options, path, str(SIZE))
    qemu_io(path, f"write -q -P 7 0 {SIZE // 2}")
    return path


def disk(source: str, form: str, kind: str = "file") -> str:
    return (
        f"<disk type='{kind}' device='disk'><driver name='qemu' type='{form}'/>{source}"
        "<target dev='vdb' bus='virtio'/></disk>"
    )


def file(path: Path, form: str = "qcow2") -> str:
    return disk(f"<source file='{path}'/>", form)


def loop(place: Place, image: Path) -> str:
    image.touch()
    os.truncate(image, max(SIZE, image.stat().st_size + MIB))
    done = subprocess.run(
        ["losetup", "-f", "--show", str(image)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip("needs a loop device")
    device = done.stdout.strip()
    place.ends.callback(subprocess.run, ["losetup", "-d", device], check=False)
    return device


def raw(path: Path) -> Path:
    path.write_bytes(b"\7" * (SIZE // 2) + bytes(SIZE // 2))
    return path


def block(place: Place) -> str:
    device = loop(place, raw(place.folder / "block"))
    link = place.folder / "by-id"
    link.symlink_to(device)
    return disk(f"<source dev='{link}'/>", "raw", "block")


def qcow2_on_a_block_device(place: Place) -> str:
    device = loop(place, qcow2(place.folder / "block"))
    return disk(f"<source dev='{device}'/>", "qcow2", "block")


def link(place: Place) -> str:
    """An image behind a link, whose relative base is beside the link for QEMU."""
    real = place.folder / "real"
    real.mkdir()
    qemu_img("create", "-q", "-f", "qcow2", real / "base", str(SIZE))
    qemu_img("create", "-q", "-f", "qcow2", "-b", "base", "-F", "qcow2", real / "top")
    qcow2(place.folder / "base")
    (place.folder / "link").symlink_to(real / "top")
    return file(place.folder / "link")


def data_file(place: Place) -> str:
    data = place.folder / "data"
    return file(qcow2(place.folder / "top", "-o", f"data_file={data}"))


def chain(place: Place) -> str:
    base = qcow2(place.folder / "base")
    middle, top = place.folder / "middle", place.folder / "top"
    qemu_img("create", "-q", "-f", "qcow2", "-b", "base", "-F", "qcow2", middle)
    qemu_img("create", "-q", "-f", "qcow2", "-b", base.with_name("middle"), "-F", "qcow2", top)
    return file(top)


def foreign_format(place: Place) -> str:
    path = raw(place.folder / "raw")
    qemu_img("convert", "-f", "raw", "-O", "vdi", path, place.folder / "vdi")
    return file(place.folder / "vdi", "vdi")


def network(place: Place) -> str:
    socket, image = place.folder / "nbd", raw(place.folder / "raw")
    command = ["qemu-nbd", "-t", "-e", "9", "-x", "root", "-f", "raw", "-k", socket, image]
    server = subprocess.Popen(command)
    place.ends.callback(server.wait)
    place.ends.callback(server.terminate)
    while not socket.exists():
        assert server.poll() is None
    host = f"<host transport='unix' socket='{socket}'/>"
    return disk(f"<source protocol='nbd' name='root'>{host}</source>", "raw", "network")


PLACES: list[Callable[[Place], str]] = [
    block, qcow2_on_a_block_device, link, data_file, chain, foreign_format, network,
]  # fmt: skip


@pytest.fixture
def bench(host: LibvirtLab) -> Iterator[RunningBench]:
    yield RunningBench(host)
    host.clear()


@pytest.fixture
def inner(bench: RunningBench) -> LibvirtHost:
    return bench.hypervisor.inner


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with ExitStack() as ends:
        yield Place(tmp_path, ends)


def test_disks_are_read_alike_while_their_machine_runs_and_while_it_is_off(
    bench: RunningBench, inner: LibvirtHost, place: Place
):
    uuid, names = made(inner), [f"vd{letter}" for letter in "bcdefgh"]
    disks = []
    for make, name in zip(PLACES, names, strict=True):
        (place.folder / name).mkdir()
        disks.append(make(Place(place.folder / name, place.ends)).replace("'vdb'", f"'{name}'"))
    given(bench.host, uuid, *disks)
    assert inner.machine(uuid).apart == ()
    for number, awake in enumerate((False, True, False)):
        if awake:
            bench.hypervisor.wake(uuid)
        else:
            bench.hypervisor.asleep()
        with inner.snapshot(uuid, f"a{number}") as snapshot:
            contents = {view.disk.name: read(view) for view in snapshot.views()}
            unguarded = [part.name for part in snapshot.machine.apart if part.held]
        assert unguarded == ([] if awake else ["vdh"])
        assert list(contents) == ["vda", *names]
        for name in names:
            assert contents[name][:SIZE] == b"\7" * (SIZE // 2) + bytes(SIZE // 2), name
    seen = snapshot.machine
    disks = tuple(image._replace(format=restored_format(image.format)) for image in seen.disks)
    with inner.create(seen._replace(disks=disks), "copy") as new:
        copy = new.commit()
    assert {disk.format for disk in copy.disks} == {"raw", "qcow2"}
    assert place.folder.name not in copy.definition[XML]


def test_an_inventory_reports_what_a_stopped_machine_lacks(
    bench: RunningBench, inner: LibvirtHost, place: Place
):
    uuid = made(inner)
    given(bench.host, uuid, chain(place))
    (place.folder / "base").rename(place.folder / "away")
    [lost] = inner.machine(uuid).apart
    assert lost.name == "vdb"
    assert f"needs {place.folder}/base: No such file" in lost.why
    nowhere = f"<host transport='unix' socket='{place.folder}/none'/>"
    source = f"<source protocol='nbd' name='root'>{nowhere}</source>"
    given(bench.host, uuid, disk(source, "raw", "network").replace("vdb", "vdc"))
    assert [part.name for part in inner.machine(uuid).apart] == ["vdb", "vdc"]
    with pytest.raises(Unavailable):
        inner.snapshot(uuid, "a1")


def test_a_block_device_that_is_written_while_it_is_read_is_found_out(
    bench: RunningBench, inner: LibvirtHost, place: Place
):
    uuid = made(inner)
    given(bench.host, uuid, block(place))
    device = (place.folder / "by-id").resolve()
    snapshot = inner.snapshot(uuid, "a1")
    with open(device, "r+b") as file:
        file.write(b"x" * 4096)
        os.fsync(file)
    with pytest.raises(SourceChanged):
        snapshot.close()


@pytest.mark.parametrize("stops", [False, True])
def test_a_machine_that_is_started_while_its_disk_on_a_network_is_read_is_found_out(
    bench: RunningBench,
    inner: LibvirtHost,
    place: Place,
    stops: bool,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(start_watch, "EVERY", 0.01)
    uuid = made(inner)
    xml = bench.host.connection.lookupByUUIDString(uuid).XMLDesc()
    bench.host.connection.defineXML(re.sub("<disk .*</disk>", network(place), xml, flags=re.S))
    if stops:  # the reason why the machine is off is then the same before and after
        bench.host.connection.lookupByUUIDString(uuid).create()
        bench.hypervisor.asleep()
    snapshot = inner.snapshot(uuid, "a1")
    assert "no lock" in snapshot.machine.apart[0].why
    bench.host.connection.lookupByUUIDString(uuid).create()
    if stops:
        bench.hypervisor.asleep()
    with pytest.raises(SourceChanged, match="was started while its disks were read"):
        snapshot.close()
    bench.hypervisor.asleep()
    with inner.snapshot(uuid, "a2") as again:
        assert len(again.views()) == 1
