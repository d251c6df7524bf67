"""QEMU's own tools read the disks that the NBD server exports."""

from __future__ import annotations

import json
import shutil
import socket
import struct
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from haulback.drivers.nbd import ALLOCATION, connect
from haulback.drivers.nbd_server import NbdServer, _runs
from haulback.drivers.source import Extent
from haulback.errors import Damaged, HaulbackError, Unavailable, Unreadable
from haulback.repository.repository import Repository
from haulback.repository.stored_disk import StoredDisk
from haulback.units import KIB, MIB
from tests.unit.repository.scene import MemoryDisk, back_up, noise

DATA = noise(3 * MIB) + bytes(2 * MIB) + noise(MIB // 2 + 512, 5)
needs_qemu_img = pytest.mark.skipif(not shutil.which("qemu-img"), reason="needs qemu-img")


@pytest.fixture
def stored(repository: Repository, tmp_path: Path, pool: ThreadPoolExecutor) -> StoredDisk:
    made = back_up(repository, MemoryDisk(DATA), tmp_path / "staging", pool)
    return StoredDisk(made.disks[0].map, repository.reader())


def test_a_stored_disk_reads_as_it_was(stored: StoredDisk):
    for offset, length in ((0, 1), (MIB - 7, 14), (3 * MIB - 5, 3 * KIB), (0, len(DATA))):
        buffer = bytearray(b"?" * length)
        stored.read_into(offset, memoryview(buffer))
        assert bytes(buffer) == DATA[offset : offset + length]
    with pytest.raises(ValueError, match="outside of the disk"):
        stored.read_into(len(DATA) - 1, memoryview(bytearray(2)))
    covered = bytearray(DATA)
    for extent in stored.extents():
        covered[extent.offset : extent.offset + extent.length] = bytes(extent.length)
    assert not any(covered)


def test_a_reply_holds_no_bytes_of_the_reply_before(tmp_path: Path):
    with NbdServer(tmp_path / "nbd", {"vda": MemoryDisk(DATA)}):
        export = connect(str(tmp_path / "nbd"), "vda")
        for low, length in (
            (0, MIB),
            (3 * MIB, 64 * KIB),
            (5, 3),
            (4 * MIB, 2 * MIB - 9),
            (1, MIB),
        ):
            length = min(length, len(DATA) - low)
            buffer = bytearray(b"?" * length)
            export.read_into(low, memoryview(buffer))
            assert buffer == DATA[low : low + length]
        export.close()


@needs_qemu_img
def test_qemu_reads_a_stored_disk_over_the_socket(stored: StoredDisk, tmp_path: Path):
    raw = tmp_path / "out.raw"
    with NbdServer(tmp_path / "nbd", {"vda": stored, "vdb": MemoryDisk(b"x" * 512)}):
        for name, expected in (("vda", DATA), ("vdb", b"x" * 512)):
            url = f"nbd+unix:///{name}?socket={tmp_path}/nbd"
            command = ["qemu-img", "convert", "-f", "raw", "-O", "raw", url, raw]
            subprocess.run(command, check=True)
            assert raw.read_bytes() == expected
        wrong = ["qemu-img", "info", f"nbd+unix:///vdc?socket={tmp_path}/nbd"]
        assert subprocess.run(wrong, capture_output=True, check=False).returncode
    assert not (tmp_path / "nbd").exists()


@needs_qemu_img
def test_a_client_sees_where_nothing_is_and_no_zeros_travel(stored: StoredDisk, tmp_path: Path):
    with NbdServer(tmp_path / "nbd", {"vda": stored}):
        url = f"nbd+unix:///vda?socket={tmp_path}/nbd"
        done = subprocess.run(["qemu-img", "map", "--output=json", url], capture_output=True)
        rows = json.loads(done.stdout)
        export = connect(str(tmp_path / "nbd"), "vda", [ALLOCATION])
        assert list(export.extents(4 * MIB)) == [Extent(5 * MIB, len(DATA) - 5 * MIB)]
        read = bytearray(b"?" * MIB)
        export.read_into(3 * MIB, memoryview(read))
        assert not any(read)
        export.close()
    assert [(row["start"], row["length"], row["zero"]) for row in rows] == [
        (0, 3 * MIB, False),
        (3 * MIB, 2 * MIB, True),
        (5 * MIB, len(DATA) - 5 * MIB, False),
    ]


@given(
    segments=st.lists(st.booleans(), min_size=1, max_size=20),
    offset=st.integers(0, 20 * 65536 - 1),
    length=st.integers(1, 20 * 65536),
)
def test_what_a_client_is_told_covers_what_it_asked(segments: list[bool], offset: int, length: int):
    disk = MemoryDisk(b"".join((b"x" if data else b"\0") * 65536 for data in segments))
    offset, length = offset % disk.size, length
    length = min(length, disk.size - offset)
    at = offset
    for count, flags in _runs(disk, offset, length):
        assert count
        assert any(disk.data[at : at + count]) == (not flags)
        at += count
    assert at == offset + length


@needs_qemu_img
def test_what_cannot_be_read_is_an_error_of_that_block_only(tmp_path: Path):
    class Broken(MemoryDisk):
        def read_into(self, offset: int, buffer: memoryview) -> None:
            if offset >= 64 * KIB:
                raise Damaged("a chunk is not what was stored")
            super().read_into(offset, buffer)

    url = f"nbd+unix:///vda?socket={tmp_path}/nbd"
    with NbdServer(tmp_path / "nbd", {"vda": Broken(b"z" * MIB)}):
        commands = ["-c", "read 512k 4k", "-c", "read -P 122 0 4k"]
        done = subprocess.run(
            ["qemu-io", "-r", "-f", "raw", *commands, url], capture_output=True, check=False
        )
    assert b"Input/output error" in done.stdout + done.stderr
    assert b"read 4096/4096 bytes at offset 0" in done.stdout


class Torn(MemoryDisk):
    """A disk whose second half cannot be read, for a given reason."""

    why: HaulbackError = Damaged("a chunk is not what was stored")

    def read_into(self, offset: int, buffer: memoryview) -> None:
        if offset + len(buffer) > self.size // 2:
            raise self.why
        super().read_into(offset, buffer)


def test_an_export_goes_on_after_bytes_that_cannot_be_read(tmp_path: Path):
    with NbdServer(tmp_path / "nbd", {"vda": Torn(b"z" * 8 * MIB)}):
        export = connect(str(tmp_path / "nbd"), "vda")
        buffer = bytearray(4 * MIB)
        for offset in (4 * MIB, 2 * MIB, 8 * MIB - 512):
            part = memoryview(buffer)[: min(4 * MIB, 8 * MIB - offset)]
            with pytest.raises(
                Unreadable, match=f"{len(part)} bytes at {offset} .*: a chunk is not"
            ):
                export.read_into(offset, part)
        export.read_into(0, memoryview(buffer))
        assert buffer == b"z" * 4 * MIB
        export.close()


def test_an_export_is_over_when_the_place_behind_it_is_away(tmp_path: Path):
    disk = Torn(b"z" * MIB)
    disk.why = Unavailable("the destination does not answer")
    with NbdServer(tmp_path / "nbd", {"vda": disk}):
        export = connect(str(tmp_path / "nbd"), "vda")
        for offset in (MIB - 512, 0):
            with pytest.raises(Unavailable) as told:
                export.read_into(offset, memoryview(bytearray(512)))
            assert not isinstance(told.value, Unreadable)


@pytest.mark.parametrize(
    "nonsense", [b"", b"\0" * 28, struct.pack(">IHHQQI", 0x25609513, 0, 0, 7, 1 << 62, 9)]
)
def test_nonsense_of_a_client_hurts_nobody_else(tmp_path: Path, nonsense: bytes):
    with NbdServer(tmp_path / "nbd", {"vda": MemoryDisk(b"z" * 512)}):
        link = socket.socket(socket.AF_UNIX)
        link.connect(str(tmp_path / "nbd"))
        link.sendall(struct.pack(">I", 3) + nonsense)
        link.close()
        another = socket.socket(socket.AF_UNIX)
        another.connect(str(tmp_path / "nbd"))
        assert another.recv(18, socket.MSG_WAITALL)[:8] == b"NBDMAGIC"
        another.close()
