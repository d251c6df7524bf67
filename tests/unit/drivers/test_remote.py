"""A remote hypervisor behaves like the local one; messages of the peer are not trusted."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from haulback.drivers.capabilities import InstantRestore, LiveMigration, capability
from haulback.drivers.hypervisor import Machine, MachineDisk
from haulback.drivers.remote import rpc
from haulback.drivers.remote.disks import OfferedDisk, RemoteSource, ServedSource
from haulback.drivers.remote.rpc import PeerConnection
from haulback.drivers.remote.ssh import command
from haulback.drivers.source import Extent
from haulback.errors import (
    Conflict,
    Malformed,
    NotFound,
    SourceChanged,
    Unavailable,
    Unsupported,
)
from haulback.libvirt_url import Address
from haulback.testing.hypervisors import CHECKS
from haulback.testing.memory_hypervisor import MemoryDisk, MemoryHypervisor
from haulback.testing.remote import in_this_process
from haulback.units import MIB


class Bench:
    format, tracks = "memory", True

    def __init__(self) -> None:
        self.inner = MemoryHypervisor()
        self.hypervisor = in_this_process(self.inner)

    def guest_writes(self, uuid: str, disk: str, offset: int, data: bytes) -> None:
        self.inner.machines[uuid].disks[disk].write_at(offset, data)

    def save_memory(self, uuid: str) -> None:
        self.inner.saved.add(uuid)

    def has_memory(self, uuid: str) -> bool:
        return uuid in self.inner.saved


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.hypervisor.close()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_hypervisor_keeps_its_promises_through_a_far_end(bench: Bench, check):
    check(bench)


def made(bench: Bench, size: int = 8 * MIB) -> str:
    wanted = Machine("", "web", (MachineDisk("root", size, "memory"),), {})
    with bench.hypervisor.create(wanted, "a1") as new:
        return new.commit().uuid


def test_errors_of_the_platform_arrive_as_they_are(bench: Bench):
    uuid = made(bench)
    with pytest.raises(NotFound, match="no machine nobody"):
        bench.hypervisor.machine("nobody")
    bench.inner.held.add(uuid)
    with pytest.raises(SourceChanged, match="web is in use; stop it"):
        bench.hypervisor.snapshot(uuid, "a1")
    bench.inner.down = True
    with pytest.raises(Unavailable, match="does not respond; start it"):
        bench.hypervisor.check()


def test_what_nobody_foresaw_is_an_error_here_and_the_far_end_goes_on(bench: Bench):
    uuid = made(bench)
    bench.inner.machines[uuid] = None  # type: ignore[assignment]
    with pytest.raises(Exception, match="AttributeError") as caught:
        bench.hypervisor.machine(uuid)
    assert getattr(caught.value, "code", None) == "internal"
    bench.hypervisor.check()


def test_what_is_made_is_gone_when_the_near_end_is(bench: Bench):
    new = bench.hypervisor.create(Machine("", "web", (), {}), "a1")
    bench.hypervisor.close()
    with pytest.raises(Unavailable):
        new.commit()
    while bench.inner.making:
        pass  # the remote driver closes its open objects, then ends
    assert bench.hypervisor.inventory().machines == []  # called by a new process


def test_pieces_of_a_disk_may_be_written_in_any_order_and_over_each_other(bench: Bench):
    wanted = Machine("", "web", (MachineDisk("root", 8 * MIB, "memory"),), {})
    data = os.urandom(8 * MIB)
    with bench.hypervisor.create(wanted, "a1") as new:
        sink = new.sink("root")
        sink.write_at(4 * MIB, data[4 * MIB :])
        sink.write_at(0, bytes(3 * MIB))
        sink.write_at(0, data[: 4 * MIB])
        uuid = new.commit().uuid
    assert bench.inner.machines[uuid].disks["root"].data == data


def test_a_piece_that_cannot_be_written_fails_the_whole_machine(bench: Bench):
    wanted = Machine("", "web", (MachineDisk("root", 8 * MIB, "memory"),), {})
    new = bench.hypervisor.create(wanted, "a1")
    bench.inner.making["a1"].disks["root"].write_at = _full  # type: ignore[method-assign]
    new.sink("root").write_at(0, b"x")
    with pytest.raises(Unavailable, match="the disk is full"):
        new.commit()
    assert (bench.inner.making, bench.inner.machines) == ({}, {})


def _full(*_: object) -> None:
    raise Unavailable("the disk is full")


@pytest.mark.parametrize("wanted", [InstantRestore, LiveMigration])
def test_a_capability_that_needs_the_nodes_own_machine_is_refused(bench: Bench, wanted):
    with pytest.raises(Unsupported, match=r"libvirt reached by SSH cannot .*; run a node on that"):
        capability(bench.hypervisor, wanted)


def test_a_capability_that_the_far_driver_lacks_is_refused_by_the_far_end(bench: Bench):
    uuid = made(bench)
    with pytest.raises(Unsupported, match="a hypervisor in memory cannot start machines"):
        bench.hypervisor.start(uuid)
    with pytest.raises(Unsupported, match="a hypervisor in memory cannot boot a backup"):
        bench.hypervisor.boot(bench.hypervisor.machine(uuid), {}, "a1")
    bench.hypervisor.check()


@contextmanager
def two_ends() -> Iterator[tuple[PeerConnection, PeerConnection]]:
    (a, b), (c, d) = os.pipe(), os.pipe()
    one, other = PeerConnection(a, d), PeerConnection(c, b)
    one.start()
    other.start()
    try:
        yield one, other
    finally:
        one.close()
        other.close()


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 5)), max_size=20))
def test_a_disk_is_read_as_it_is_by_either_end(pieces: list[tuple[int, int]]):
    disk = MemoryDisk(3 * MIB)
    for at, count in pieces:
        disk.write_at(at * 65536, bytes([at + 1]) * 65536 * min(count, 48 - at))
    with two_ends() as (item, other):
        far = RemoteSource(other, OfferedDisk(item.offer(ServedSource(disk)), disk.size))
        assert list(far.extents()) == list(disk.extents())
        data = bytearray(disk.size)
        far.read_into(0, memoryview(data))
        assert data == disk.data
        with pytest.raises(SourceChanged):
            far.read_into(disk.size - 1, memoryview(bytearray(2)))


class Counted(MemoryDisk):
    """A disk that records its reads."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.reads: list[tuple[int, int]] = []

    def read_into(self, offset: int, buffer: memoryview) -> None:
        self.reads.append((offset, len(buffer)))
        super().read_into(offset, buffer)


def test_who_reads_what_was_told_finds_it_on_its_way_and_nothing_is_read_twice_or_besides():
    disk = Counted(16 * MIB)
    data = os.urandom(5 * MIB + 65536)
    disk.write_at(65536, data)
    disk.write_at(12 * MIB, data[:65536])
    with two_ends() as (item, other):
        far = RemoteSource(other, OfferedDisk(item.offer(ServedSource(disk)), disk.size))
        told = list(far.extents())
        result = bytearray(disk.size)
        for start, length in told:
            low, end = start, start + length
            while low < end:
                high = min(end, low // MIB * MIB + MIB)
                far.read_into(low, memoryview(result)[low:high])
                low = high
        assert result == disk.data
    assert sum(length for _, length in disk.reads) == sum(length for _, length in told)


def test_extents_that_nobody_follows_to_their_end_are_forgotten():
    disk = MemoryDisk(8 * MIB, b"x" * 8 * MIB)
    with two_ends() as (item, other):
        number = item.offer(ServedSource(disk))
        first = other.call(number, "extents", 0, kind=int)
        far = RemoteSource(other, OfferedDisk(number, disk.size))
        for start in range(100):
            assert next(far.extents(start * 65536)) == Extent(start * 65536, 65536)
        with pytest.raises(Conflict, match="has ended; start a new iteration"):
            other.call(number, "more", first, 10, kind=list[Extent])
        assert list(far.extents()) == list(disk.extents())


class Answers:
    """A remote object whose public method returns its argument."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def tell(self, what: str) -> str:
        self.told.append(what)
        return what

    def _hidden(self) -> str:
        return "secret"


def test_only_public_methods_with_the_right_arguments_are_called():
    with two_ends() as (item, other):
        number = item.offer(answers := Answers())
        assert other.call(number, "tell", "this", kind=str) == "this"
        for method, *given in (
            ("_hidden",),
            ("__class__",),
            ("told",),
            ("tell",),
            ("tell", 7),
            ("tell", "a", "b"),
            ("",),
        ):
            with pytest.raises(Malformed):
                other.call(number, method, *given, kind=str)
        with pytest.raises(Unavailable, match="malformed response"):
            other.call(number, "tell", "this", kind=int)
        assert answers.told == ["this", "this"]
        item.withdraw(answers)
        with pytest.raises(Conflict):
            other.call(number, "tell", "this", kind=str)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\0",
        struct.pack(">I", 1 << 31),
        struct.pack(">I", 3) + b"\xc1\xc1\xc1",
        struct.pack(">I", 64),
        struct.pack(">I", 9) + b"Password:",
        (lambda m: struct.pack(">I", len(m)) + m)(msgspec.msgpack.encode(["answer", 99, 1])),
        (lambda m: struct.pack(">I", len(m)) + m)(msgspec.msgpack.encode(["ask", "x"])),
    ],
)
def test_a_far_end_that_makes_no_sense_is_gone(said: bytes):
    (a, b), (c, d) = os.pipe(), os.pipe()
    near = PeerConnection(a, d, lambda: "the wire was cut")
    waiting = near.begin(0, "check")
    os.write(b, said)
    os.close(b)
    near.start()
    near.wait()
    with pytest.raises(Unavailable, match="the wire was cut"):
        near.result(waiting, str)
    with pytest.raises(Unavailable, match="the wire was cut"):
        near.call(0, "check", kind=str)
    os.close(c)


@pytest.mark.parametrize("listens", [True, False])
def test_a_side_that_says_nothing_or_takes_nothing_is_gone(
    monkeypatch: pytest.MonkeyPatch, listens: bool
):
    monkeypatch.setattr(rpc, "_SILENCE", 0.1)
    monkeypatch.setattr(rpc, "_LOOK_EVERY", 0.02)
    (a, b), (c, d) = os.pipe(), os.pipe()
    near = PeerConnection(a, d, lambda: "nobody is there")
    if listens:
        near.start()
    with pytest.raises(Unavailable, match="nobody is there"):
        near.call(0, "write", bytes(0 if listens else 8 * MIB), kind=str)
    if not listens:
        near.start()
    near.wait()
    with pytest.raises(Unavailable, match="nobody is there"):
        near.call(0, "check", kind=str)
    os.close(b)
    os.close(c)


class Disorder:
    """A remote disk with unordered extents and too few bytes."""

    def extents(self, start: int) -> int:
        return start

    def more(self, number: int, most: int) -> list[Extent]:
        return [Extent(number + 65536, 10), Extent(number, 10)]

    def read(self, offset: int, length: int) -> bytes:
        return bytes(length - offset)


def test_a_far_disk_that_contradicts_itself_is_not_believed():
    with two_ends() as (one, other):
        far = RemoteSource(other, OfferedDisk(one.offer(Disorder()), MIB))
        with pytest.raises(Unavailable, match="extent"):
            list(far.extents())
        with pytest.raises(Unavailable, match="bytes"):
            far.read_into(1, memoryview(bytearray(10)))


def test_an_address_says_where_as_whom_and_which_libvirt():
    result = Address.parse(
        "qemu+ssh://backup@kvm1.example:2222/system?socket=/run/x/sock&keyfile=/etc/h/key&no_verify=1"
    )
    assert result == Address(
        "kvm1.example", "qemu+unix:///system?socket=/run/x/sock", "backup", 2222, "/etc/h/key",
        verify=False,
    )  # fmt: skip
    assert Address.parse("qemu+ssh://kvm/session") == Address("kvm", "qemu:///session")
    assert (
        Address.parse("qemu+ssh://[fe80::1%25eth0]/system".replace("%25", "%")).host
        == "fe80::1%eth0"
    )


@pytest.mark.parametrize(
    "url",
    [
        "qemu+ssh:///system",
        "qemu+ssh://-oProxyCommand=x/system",
        "qemu+ssh://-l@host/system",
        "qemu+ssh://host:70000/system",
        "qemu+ssh://host:0/system",
        "qemu+ssh://host/other",
        "qemu+ssh://host/system?netcat=nc",
        "qemu+ssh://host/system?keyfile=id",
        "qemu+ssh://host/system?keyfile=/a%20b",
        "qemu+ssh://host/system?no_verify=yes",
        "qemu+ssh://host/system?socket=/a%26b=/c",
        "qemu+ssh://host/system?",
        "qemu+ssh://ho st/system",
        "xen+ssh://host/system",
    ],
)
def test_an_address_that_is_none_is_refused(url: str):
    with pytest.raises(Malformed):
        Address.parse(url)


def test_the_client_is_told_nothing_that_it_or_a_shell_could_take_for_something_else():
    address = Address.parse("qemu+ssh://root@host:22/system?haulback=/opt/it's/haulback;reboot")
    words = command(address, Path("/srv/a b;c"))
    assert words[words.index("--") + 1] == "host"
    assert words[-1] == (
        """exec '/opt/it'"'"'s/haulback;reboot' far-end qemu:///system '/srv/a b;c'"""
    )
    assert "StrictHostKeyChecking=no" not in words
